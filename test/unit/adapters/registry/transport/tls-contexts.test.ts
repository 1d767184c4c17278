import { expect } from 'chai';
import type { AddressInfo } from 'node:net';
import { connect, createServer, type SecureContext } from 'node:tls';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { TlsContexts } from '../../../../../src/adapters/registry/transport/tls-contexts.ts';
import { eventually } from '../../../../support/eventually.ts';
import { CA, ISSUING_CA, SECOND_ROOT, serverCertificate, serverChain } from '../../../../support/tls/certificates.ts';

/** `trusted`, or the code of the refusal. */
async function verdict(context: SecureContext, presented: { cert: string; key: string }): Promise<string> {
  const server = createServer(presented, (socket) => socket.on('error', () => undefined));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const { promise, resolve } = Promise.withResolvers<string>();
  const socket = connect({ host: '127.0.0.1', port, servername: 'localhost', secureContext: context });
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
    it(`take a listed certificate as an anchor: ${what}`, async () => {
      const others = [serverCertificate('elsewhere').cert];
      expect(await verdict(new TlsContexts().get([...others, ca]), presented)).to.equal('trusted');
    });
  }

  for (const [what, ca] of [
    ['nothing', []],
    ['another root', [CA]],
    ["another server's certificate", [serverCertificate('localhost').cert]],
  ] as const) {
    it(`refuse a stranger's certificate where ${what} is listed`, async () => {
      const contexts = new TlsContexts();
      expect(await verdict(contexts.get(ca), chain)).to.match(/^(UNABLE_TO|SELF_SIGNED)/);
      // A certificate that was added to one context is in no other.
      expect(await verdict(contexts.get([SECOND_ROOT]), chain)).to.equal('trusted');
      expect(await verdict(contexts.get(ca), chain)).to.match(/^(UNABLE_TO|SELF_SIGNED)/);
    });
  }

  it('are freed when nothing uses them', async () => {
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

  it('are one for each set of certificates, in whatever order and however often each is listed', () => {
    const contexts = new TlsContexts();
    const context = contexts.get([CA, ISSUING_CA]);
    expect(contexts.get([ISSUING_CA, CA, CA])).to.equal(context);
    expect(contexts.get([CA])).not.to.equal(context);
    expect(contexts.get([])).to.equal(contexts.get([]));
  });
});
