import { expect } from 'chai';
import { once } from 'node:events';
import { connect } from 'node:net';
import { HttpServer, LIMITS } from '../../../../../src/adapters/http/server/http-server.ts';
import { refuseHeads } from '../../../../../src/adapters/http/server/refused-heads.ts';
import type { FinishedRequest } from '../../../../../src/adapters/http/server/request-record.ts';

describe('refuseHeads', () => {
  let server: HttpServer;
  let port: number;
  let seen: FinishedRequest[];
  let handled: number;
  beforeEach(async () => {
    seen = [];
    const refuse = refuseHeads([(request) => seen.push(request)]);
    handled = 0;
    const handle = (_request: unknown, response: { end: (text: string) => unknown }): unknown => {
      handled++;
      return response.end('served');
    };
    server = new HttpServer(handle, undefined, { ...LIMITS, headersTimeoutMs: 200 }, refuse);
    ({ port } = await server.listen('127.0.0.1', 0));
  });
  afterEach(() => server.close(0));

  /** All that comes until the connection ends. */
  async function send(...pieces: readonly string[]): Promise<string> {
    const socket = connect(port, '127.0.0.1');
    let answer = '';
    socket.setEncoding('latin1').on('data', (text: string) => (answer += text));
    await once(socket, 'connect');
    for (const piece of pieces) socket.write(piece);
    await once(socket, 'end');
    socket.destroy();
    return answer;
  }

  const request = (headers: string): string => `GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${headers}\r\n\r\n`;

  for (const [what, headers] of [
    ['a token', `Authorization: Bearer ${'x'.repeat(63 * 1024)}`],
    ['a cookie', `Cookie: ${'x'.repeat(63 * 1024)}`],
    ['many headers', Array.from({ length: 60 }, (_, i) => `X-${String(i)}: ${'x'.repeat(1000)}`).join('\r\n')],
  ] as const) {
    it(`are not asked about 63 KiB of ${what}`, async () => {
      expect(await send(request(headers))).to.match(/^HTTP\/1\.1 200 /);
      expect(seen).to.deep.equal([]);
    });
  }

  for (const [what, pieces, status, code, line] of [
    [
      'headers of more than 64 KiB',
      [request(`Authorization: Bearer ${'x'.repeat(66 * 1024)}`)],
      431,
      'HEADERS_TOO_LARGE',
      'request headers are too large',
    ],
    [
      'headers of a megabyte, to the end',
      Array.from({ length: 64 }, (_, i) => (i === 0 ? 'GET / HTTP/1.1\r\nX: ' : 'x'.repeat(16 * 1024))),
      431,
      'HEADERS_TOO_LARGE',
      'request headers are too large',
    ],
    ['what is not HTTP', ['\x16\x03\x01\x02\x00'], 400, 'REQUEST_INVALID', 'request is not HTTP'],
    [
      'a head that does not end',
      ['GET / HTTP/1.1\r\nHost: '],
      408,
      'HEAD_TIMEOUT',
      'request head did not come in time',
    ],
  ] as const) {
    it(`answer, log and count ${what}`, async () => {
      const answer = await send(...pieces);
      expect(answer).to.match(new RegExp(`^HTTP/1\\.1 ${String(status)} `));
      expect(answer.split('\r\n\r\n')[1]).to.equal(`${line}\n`);
      expect(seen).to.have.lengthOf(1);
      const [{ route, method, error, client, id, status: counted }] = seen as [FinishedRequest];
      expect({ route, method, client, counted }).to.deep.equal({
        route: 'other',
        method: 'other',
        client: '127.0.0.1',
        counted: status,
      });
      expect(error).to.have.property('code', code);
      expect(answer).to.include(`X-Request-Id: ${id}\r\n`);
    });
  }

  it('serve no request whose end comes after its refusal', async () => {
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => undefined).once('data', () => socket.write('a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n'));
    socket.write('GET / HTTP/1.1\r\nHost: ');
    await once(socket, 'close');
    expect(seen).to.have.lengthOf(1);
    expect(handled).to.equal(0);
  });

  it('do not count a connection without a request', async () => {
    expect(await send()).to.match(/^HTTP\/1\.1 408 /);
    expect(seen).to.deep.equal([]);
  });
});
