import { expect } from 'chai';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { readSendQueues } from '../../../../../src/adapters/http/server/send-queues.ts';
import { eventually } from '../../../../support/eventually.ts';

const SENT = new Uint8Array(512 * 1024);

describe('readSendQueues', () => {
  let server: Server;
  const clients: Socket[] = [];
  afterEach(() => {
    for (const client of clients.splice(0)) client.destroy();
    server.close();
  });

  /** Resolves with the end of the server, which sends bytes to a client that reads or does not read them. */
  async function sendTo(host: string, reads: boolean, from: { localAddress?: string; localPort?: number } = {}) {
    const { port } = server.address() as AddressInfo;
    const client = connect({ host, port, ...from });
    clients.push(client);
    const [accepted] = (await once(server, 'connection')) as [Socket];
    accepted.on('error', () => undefined).write(SENT);
    if (reads) client.resume();
    return { accepted, client };
  }

  async function listen(host: string): Promise<void> {
    server = createServer().listen(0, host);
    await once(server, 'listening');
  }

  for (const [listened, host] of [
    ['127.0.0.1', '127.0.0.1'],
    ['::1', '::1'],
    ['::', '127.0.0.1'],
  ] as const) {
    it(`returns the bytes that a client of ${host} has not received from a server at ${listened}`, async () => {
      await listen(listened);
      const { accepted: stalled } = await sendTo(host, false);
      const { accepted: read } = await sendTo(host, true);
      await eventually(async () => {
        await Promise.resolve();
        const queueOf = readSendQueues();
        expect(queueOf(read)).to.equal(0);
        expect(queueOf(stalled)).to.be.within(1, SENT.byteLength);
      });
      clients[0]?.destroy();
      await new Promise((resolve) => stalled.once('close', resolve));
      expect(readSendQueues()(stalled)).to.equal(0);
    });
  }

  it('does not confuse clients on two addresses that use the same port', async () => {
    await listen('127.0.0.1');
    const { accepted: stalled, client } = await sendTo('127.0.0.1', false, { localAddress: '127.0.0.2' });
    const { accepted: read } = await sendTo('127.0.0.1', true, {
      localAddress: '127.0.0.3',
      localPort: client.localPort ?? 0,
    });
    expect(read.remotePort).to.equal(stalled.remotePort);
    await eventually(async () => {
      await Promise.resolve();
      const queueOf = readSendQueues();
      expect(queueOf(read)).to.equal(0);
      expect(queueOf(stalled)).to.be.greaterThan(0);
    });
  });
});
