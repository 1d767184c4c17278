import { expect } from 'chai';
import { once } from 'node:events';
import { Agent, get, type IncomingMessage, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import got from 'got';
import { ADMISSION_LIMITS } from '../../../../../src/adapters/http/server/admission.ts';
import { HttpServer, LIMITS } from '../../../../../src/adapters/http/server/http-server.ts';
import { refuseHeads } from '../../../../../src/adapters/http/server/refused-heads.ts';
import type { FinishedRequest } from '../../../../../src/adapters/http/server/request-record.ts';
import { eventually } from '../../../../support/eventually.ts';
import { RawConnection } from '../../../../support/raw-connection.ts';
import { rejection } from '../../../../support/rejection.ts';

describe('HttpServer', () => {
  let running: ServerResponse[];
  let server: HttpServer;
  let port: number;

  beforeEach(async () => {
    running = [];
    server = new HttpServer((request, response) => {
      if (request.url === '/now') response.end('now');
      else running.push(response.writeHead(200, { 'Content-Length': '4' }));
      if (request.url === '/slow') response.write('sl');
    });
    ({ port } = await server.listen('127.0.0.1', 0));
  });

  async function ask(path: string, agent?: Agent): Promise<IncomingMessage> {
    const [response] = (await once(get({ port, path, agent }), 'response')) as [IncomingMessage];
    return response;
  }

  async function body(response: IncomingMessage): Promise<string> {
    let text = '';
    for await (const chunk of response.setEncoding('utf8')) text += String(chunk);
    return text;
  }

  it('lets running requests finish at a stop, and accepts no new connection', async () => {
    const response = await ask('/slow');
    const closed = server.close(10_000);
    expect(await rejection(once(connect(port, '127.0.0.1'), 'connect'))).to.have.property('code', 'ECONNREFUSED');
    running[0]?.end('ow');
    expect(await body(response)).to.equal('slow');
    await closed;
  });

  it('measures how long a new connection waits until it is accepted', async () => {
    const busy = server.acceptDelay();
    const end = performance.now() + 30;
    while (performance.now() < end);
    expect(await busy).to.be.within(0.03, 10);
    await server.close(10_000);
    expect(await server.acceptDelay()).to.equal(0);
  });

  it('measures this with one connection for all that ask at the time', async () => {
    const delays = [server.acceptDelay(), server.acceptDelay()];
    expect(delays[0]).to.equal(delays[1]);
    await Promise.all(delays);
    const later = server.acceptDelay();
    expect(later).not.to.equal(delays[0]);
    await later;
    await server.close(0);
  });

  it('accepts more connections than running requests, so that probes have one', async () => {
    expect(ADMISSION_LIMITS.maxRunning).to.be.at.most(LIMITS.maxConnections - 64);
    await server.close(0);
  });

  it('does not wait for idle connections', async () => {
    const agent = new Agent({ keepAlive: true });
    expect(await body(await ask('/now', agent))).to.equal('now');
    await server.close(10_000);
    agent.destroy();
  });

  it('cuts off running requests at the deadline', async () => {
    const response = await ask('/slow');
    const cut = rejection(body(response));
    await server.close(50);
    expect(await cut).to.have.property('code', 'ECONNRESET');
  });

  it('reports why it cannot listen', async () => {
    const second = new HttpServer(() => undefined);
    expect(await rejection(second.listen('127.0.0.1', port))).to.have.property('code', 'EADDRINUSE');
    await server.close(0);
  });

  describe('against clients that occupy connections', () => {
    let limited: HttpServer;
    let address: number;
    beforeEach(async () => {
      const limits = { ...LIMITS, keepAliveTimeoutMs: 100, headersTimeoutMs: 100, maxConnections: 3 };
      limited = new HttpServer((_request, response) => response.end('ok'), undefined, limits);
      address = (await limited.listen('127.0.0.1', 0)).port;
      await server.close(0);
    });
    afterEach(() => limited.close(0));

    const slow: [what: string, bytes: string, status: number | undefined][] = [
      ['says nothing', '', 408],
      ['says half a request line', 'GET /heal', 408],
      ['never ends its headers', 'GET /healthz HTTP/1.1\r\nHost: a\r\n', 408],
    ];
    for (const [what, bytes, status] of slow) {
      it(`closes the connection of one that ${what}`, async () => {
        const connection = new RawConnection(connect(address, '127.0.0.1'));
        connection.send(bytes);
        expect((await connection.answer())?.status).to.equal(status);
        await connection.closed();
      });
    }

    it('closes the connection of a client that sends its headers very slowly', async () => {
      const connection = new RawConnection(connect(address, '127.0.0.1'));
      connection.send('GET /healthz HTTP/1.1\r\n');
      const trickle = setInterval(() => {
        connection.send('X-A: b\r\n');
      }, 10);
      expect((await connection.answer())?.status).to.equal(408);
      clearInterval(trickle);
      await connection.close();
    });

    it('closes the connection that has been silent longest when there are too many', async () => {
      const clients: RawConnection[] = [];
      for (let number = 0; number < 3; number++) {
        const socket = connect(address, '127.0.0.1');
        await once(socket, 'connect');
        const client = new RawConnection(socket);
        clients.push(client);
        // All are accepted in their order, and the first is not the one that has been silent longest.
        for (const asking of new Set([client, clients[0] ?? client])) {
          asking.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
          expect((await asking.answer())?.status).to.equal(200);
        }
      }
      const surplus = new RawConnection(connect(address, '127.0.0.1'));
      surplus.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
      expect((await surplus.answer())?.status).to.equal(200);
      await clients[1]?.closed();
      clients[0]?.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
      expect((await clients[0]?.answer())?.status).to.equal(200);
      for (const client of [surplus, ...clients]) await client.close();
    });

    it('serves a probe while very many silent clients are connected', async () => {
      const silent = Array.from({ length: 40 }, () => connect(address, '127.0.0.1').on('error', () => undefined));
      await Promise.all(silent.map((socket) => once(socket, 'connect')));
      await eventually(async () => {
        expect(await got(`http://127.0.0.1:${String(address)}`, { retry: { limit: 0 } }).text()).to.equal('ok');
      });
      for (const socket of silent) socket.destroy();
    });
  });

  it('refuses connections above its limit when a request runs on each connection, and accepts others when one has ended', async () => {
    const limits = { ...LIMITS, keepAliveTimeoutMs: 1000, headersTimeoutMs: 1000, maxConnections: 2 };
    const held: ServerResponse[] = [];
    const finished: FinishedRequest[] = [];
    const refuse = refuseHeads([(request) => finished.push(request)]);
    const busy = new HttpServer((_request, response) => held.push(response), undefined, limits, refuse);
    const address = (await busy.listen('127.0.0.1', 0)).port;
    const client = got.extend({ retry: { limit: 0 }, throwHttpErrors: false });
    const url = `http://127.0.0.1:${String(address)}`;
    const asking = [1, 2].map(() => client(url).text());
    await eventually(async () => {
      expect(held).to.have.lengthOf(2);
    });
    const refused = await Promise.all(Array.from({ length: 40 }, () => client(url)));
    expect(new Set(refused.map(({ statusCode }) => statusCode))).to.deep.equal(new Set([503]));
    expect(refused[0]?.headers).to.include({ connection: 'close' });
    // All by chance the same: once in 10^40 runs.
    const patience = new Set(refused.map(({ headers }) => Number(headers['retry-after'])));
    expect(patience.size).to.be.greaterThan(1);
    for (const seconds of patience) expect(seconds).to.be.within(5, 15);
    expect(finished.map(({ status }) => status)).to.deep.equal(Array.from({ length: 40 }, () => 503));
    held[0]?.end('ok');
    await Promise.race(asking);
    const next = client(url).text();
    await eventually(async () => {
      expect(held).to.have.lengthOf(3);
    });
    for (const response of held) response.end('ok');
    expect(await Promise.all([...asking, next])).to.deep.equal(['ok', 'ok', 'ok']);
    await busy.close(0);
    await server.close(0);
  });

  it('closes an idle connection that has been answered before one whose first request may be on its way', async () => {
    const limits = { ...LIMITS, keepAliveTimeoutMs: 5000, headersTimeoutMs: 5000, maxConnections: 2 };
    const limited = new HttpServer((_request, response) => response.end('ok'), undefined, limits);
    const address = (await limited.listen('127.0.0.1', 0)).port;
    const request = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
    const open = async (): Promise<RawConnection> => {
      const socket = connect(address, '127.0.0.1');
      await once(socket, 'connect');
      return new RawConnection(socket);
    };
    const fresh = await open();
    const idle = await open();
    idle.send(request);
    expect((await idle.answer())?.status).to.equal(200);
    const third = await open();
    await idle.closed();
    for (const connection of [fresh, third]) {
      connection.send(request);
      expect((await connection.answer())?.status).to.equal(200);
      await connection.close();
    }
    await limited.close(0);
    await server.close(0);
  });

  it('accepts several connections in one turn of the event loop', async () => {
    let turn = 0;
    const turns = new Set<number>();
    const counting = new HttpServer((_request, response) => {
      turns.add(turn);
      response.end('ok');
    });
    const address = (await counting.listen('127.0.0.1', 0)).port;
    let spinning = setImmediate(function spin() {
      turn++;
      spinning = setImmediate(spin);
    });
    const clients = Array.from({ length: 64 }, () => connect(address, '127.0.0.1'));
    for (const client of clients) client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    await Promise.all(clients.map((client) => once(client, 'data')));
    clearImmediate(spinning);
    for (const client of clients) client.destroy();
    // 64 with one listening socket.
    expect(turns.size).to.be.lessThan(40);
    await counting.close(0);
    await server.close(0);
  });
});
