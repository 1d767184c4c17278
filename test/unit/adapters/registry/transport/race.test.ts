import { expect } from 'chai';
import { type AddressInfo, connect, createServer, type Server, Socket } from 'node:net';
import { race } from '../../../../../src/adapters/registry/transport/race.ts';
import { rejection } from '../../../../support/rejection.ts';

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

  it('takes the first address when it answers, and tries no other', async () => {
    const socket = await race(['live', 'live2'], open, 5000);
    expect(socket).to.equal(made[0]);
    expect(tried).to.deep.equal(['live']);
  });

  it('goes on to the next address at once when one refuses', async () => {
    await race(['refused', 'refused', 'live'], open, 5000);
    expect(tried).to.deep.equal(['refused', 'refused', 'live']);
  });

  it('goes on beside an address that is silent, and leaves no attempt behind', async () => {
    const socket = await race(['silent', 'silent', 'live', 'silent'], open, 5000);
    expect(socket.connecting).to.equal(false);
    expect(made.filter(({ destroyed }) => !destroyed)).to.deep.equal([socket]);
  });

  it('takes turns between the families', async () => {
    await race(['refused::1', 'refused::2', 'refused::3', 'refused', 'live'], open, 5000);
    expect(tried).to.deep.equal(['refused::1', 'refused', 'refused::2', 'live']);
  });

  it('fails with the error of the last address when all refuse', async () => {
    expect(await rejection(race(['refused', 'refused'], open, 5000))).to.have.property('code', 'ECONNREFUSED');
  });

  it('gives up all of them after its time', async () => {
    expect(await rejection(race(['silent', 'refused', 'silent'], open, 30))).to.have.property('code', 'ETIMEDOUT');
    expect(made.every(({ destroyed }) => destroyed)).to.equal(true);
  });

  it('tries eight addresses of however many a name has', async () => {
    const many = Array.from({ length: 500 }, () => 'refused');
    expect(await rejection(race(many, open, 5000))).to.have.property('code', 'ECONNREFUSED');
    expect(tried).to.have.lengthOf(8);
  });
});
