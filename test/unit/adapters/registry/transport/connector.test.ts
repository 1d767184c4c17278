import { expect } from 'chai';
import { type AddressInfo, connect, createServer, type Server, Socket } from 'node:net';
import { connect as connectTls, createServer as createTlsServer, type SecureContext } from 'node:tls';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { race, TlsContexts } from '../../../../../src/adapters/registry/transport/connector.ts';
import { eventually } from '../../../../support/eventually.ts';
import { rejection } from '../../../../support/rejection.ts';
import { CA, ISSUING_CA, SECOND_ROOT, serverCertificate, serverChain } from '../../../../support/tls/certificates.ts';

/** The kinds of addresses: never answers, refuses, answers. */
type Kind = 'silent' | 'refused' | 'live';

describe('race', () => {
  let server: Server;
  let port: number;
  const tried: string[] = [];
  const made: Socket[] = [];

  before(async () => {
    server = createServer((socket) => socket.on('error', () => undefined));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    port = (server.address() as AddressInfo).port;
  });
  after(() => server.close());
  afterEach(() => {
    tried.length = 0;
    for (const socket of made.splice(0)) socket.destroy();
  });

  /** Addresses are named by what they do: `silent`, `refused:1`, `live::2` (colons are those of IPv6). */
  function open(address: string): Socket {
    tried.push(address);
    const kind = address.split(':')[0] as Kind;
    const socket = kind === 'silent' ? new Socket() : connect(kind === 'live' ? port : 1, '127.0.0.1');
    made.push(socket);
    return socket;
  }

  it('uses the first address if it answers, and tries no other', async () => {
    const socket = await race(['live', 'live2'], open, 5000);
    expect(socket).to.equal(made[0]);
    expect(tried).to.deep.equal(['live']);
  });

  it('tries the next address at once if one refuses', async () => {
    await race(['refused', 'refused', 'live'], open, 5000);
    expect(tried).to.deep.equal(['refused', 'refused', 'live']);
  });

  it('tries the next address while one does not answer, and leaves no attempt open', async () => {
    const socket = await race(['silent', 'silent', 'live', 'silent'], open, 5000);
    expect(socket.connecting).to.equal(false);
    expect(made.filter(({ destroyed }) => !destroyed)).to.deep.equal([socket]);
  });

  it('alternates between the address families', async () => {
    await race(['refused::1', 'refused::2', 'refused::3', 'refused', 'live'], open, 5000);
    expect(tried).to.deep.equal(['refused::1', 'refused', 'refused::2', 'live']);
  });

  it('fails with the error of the last address when all refuse', async () => {
    expect(await rejection(race(['refused', 'refused'], open, 5000))).to.have.property('code', 'ECONNREFUSED');
  });

  it('stops all attempts after its time limit', async () => {
    expect(await rejection(race(['silent', 'refused', 'silent'], open, 30))).to.have.property('code', 'ETIMEDOUT');
    expect(made.every(({ destroyed }) => destroyed)).to.equal(true);
  });

  it('tries at most eight addresses of a name', async () => {
    const many = Array.from({ length: 500 }, () => 'refused');
    expect(await rejection(race(many, open, 5000))).to.have.property('code', 'ECONNREFUSED');
    expect(tried).to.have.lengthOf(8);
  });
});

/** `trusted`, or the code of the refusal. */
async function verdict(context: SecureContext, presented: { cert: string; key: string }): Promise<string> {
  const server = createTlsServer(presented, (socket) => socket.on('error', () => undefined));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const { promise, resolve } = Promise.withResolvers<string>();
  const socket = connectTls({ host: '127.0.0.1', port, servername: 'localhost', secureContext: context });
  socket.once('secureConnect', () => {
    resolve('trusted');
  });
  socket.once('error', (error: NodeJS.ErrnoException) => {
    resolve(error.code ?? error.message);
  });
  const outcome = await promise;
  socket.destroy();
  await new Promise((closed) => server.close(closed));
  return outcome;
}

describe('TlsContexts', () => {
  const chain = serverChain('issued');
  const leaf = serverCertificate('issued');

  for (const [what, ca, presented] of [
    ['the root, of a server that sends its issuing CA', SECOND_ROOT, chain],
    ['the issuing CA, of a server that sends it', ISSUING_CA, chain],
    ['the issuing CA, of a server that sends its certificate alone', ISSUING_CA, leaf],
    ["the server's own certificate", leaf.cert, chain],
    ["the server's own certificate, sent alone", leaf.cert, leaf],
    ['one that counts among others', CA, serverCertificate('localhost')],
  ] as const) {
    it(`use a configured certificate as a trust anchor: ${what}`, async () => {
      const others = [serverCertificate('elsewhere').cert];
      expect(await verdict(new TlsContexts().get([...others, ca]), presented)).to.equal('trusted');
    });
  }

  for (const [what, ca] of [
    ['nothing', []],
    ['another root', [CA]],
    ["another server's certificate", [serverCertificate('localhost').cert]],
  ] as const) {
    it(`refuse a foreign certificate if ${what} is configured`, async () => {
      const contexts = new TlsContexts();
      expect(await verdict(contexts.get(ca), chain)).to.match(/^(UNABLE_TO|SELF_SIGNED)/);
      // A certificate that was added to one context is in no other.
      expect(await verdict(contexts.get([SECOND_ROOT]), chain)).to.equal('trusted');
      expect(await verdict(contexts.get(ca), chain)).to.match(/^(UNABLE_TO|SELF_SIGNED)/);
    });
  }

  it('are freed when no connection uses them', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const contexts = new TlsContexts();
    for (const ca of [[], [CA], [ISSUING_CA], [CA, ISSUING_CA]]) contexts.get(ca);
    await eventually(() => {
      collect();
      expect(contexts.size).to.equal(0);
      return Promise.resolve();
    });
  });

  it('are one for each set of certificates, in any order and with any number of copies', () => {
    const contexts = new TlsContexts();
    const context = contexts.get([CA, ISSUING_CA]);
    expect(contexts.get([ISSUING_CA, CA, CA])).to.equal(context);
    expect(contexts.get([CA])).not.to.equal(context);
    expect(contexts.get([])).to.equal(contexts.get([]));
  });
});
