import { expect } from 'chai';
import { connect } from 'node:net';
import { type RunningApp, startHttpApp } from '../../../../support/http-app.ts';
import { exchange, type Exchange, RawConnection } from '../../../../support/raw-connection.ts';
import { SMUGGLED_ID, SMUGGLING_SHAPES } from '../../../../support/smuggling-shapes.ts';

describe('strictRequests', () => {
  let app: RunningApp;
  let connection: RawConnection;
  beforeEach(async () => {
    app = await startHttpApp({});
    connection = new RawConnection(connect(app.port, '127.0.0.1'));
  });
  afterEach(async () => {
    await connection.close();
    await app.close();
  });
  const ask = (...lines: string[]): Promise<Exchange> => exchange(connection, `${lines.join('\r\n')}\r\n\r\n`);

  for (const { why, bytes, alone } of SMUGGLING_SHAPES) {
    it(`answers ${String(alone)} to ${why}, and sees no second request`, async () => {
      const { answers, isClosed } = await exchange(connection, bytes);
      expect(answers.map(({ status }) => status)).to.deep.equal(alone === 'cut' ? [] : [alone]);
      expect(isClosed).to.equal(true);
      expect(app.finished.map(({ id }) => id)).not.to.include(SMUGGLED_ID);
    });
  }

  it('accepts unusual but valid requests', async () => {
    const unusual = [
      ['Host:'],
      ['Host: [::1]:5080'],
      ['Host: a', 'Content-Length: 0'],
      ['Host: a', 'Connection: upgrade', 'Upgrade: h2c'],
      ['Host: a', 'TE: trailers', 'Via: 1.1 b'],
    ];
    for (const lines of unusual) {
      const { answers, isClosed } = await ask('GET /healthz HTTP/1.1', ...lines);
      expect(
        answers.map(({ status }) => status),
        lines.join(),
      ).to.deep.equal([200]);
      expect(isClosed, lines.join()).to.equal(false);
    }
  });

  it('accepts a whole URL as the target, and takes the host from it instead of from Host', async () => {
    for (const [target, host, status, body] of [
      ['http://a:5080/healthz', 'a:5080', 200, 'ok'],
      ['HTTP://[::1]/healthz?a=b', 'other', 200, 'ok'],
      ['https://a/healthz', '', 200, 'ok'],
      ['http://localhost', 'evil.example', 307, 'see /status'],
      ['http://localhost?a=b', 'evil.example', 307, 'see /status'],
      ['http://evil.example/', 'localhost', 400, 'this page is served only at localhost, '],
    ] as const) {
      const { answers, isClosed } = await ask(`GET ${target} HTTP/1.1`, `Host: ${host}`);
      expect(answers, target).to.have.lengthOf(1);
      expect(answers[0]?.status, target).to.equal(status);
      expect(answers[0]?.body.startsWith(body), target).to.equal(true);
      expect(isClosed, target).to.equal(false);
    }
    expect(app.finished.map(({ route }) => route)).not.to.include('other');
  });

  it('answers a client that sends Expect: 100-continue at once with the final status', async () => {
    const { answers, isClosed } = await ask('GET /healthz HTTP/1.1', 'Host: a', 'Expect: 100-continue');
    expect(answers.map(({ status }) => status)).to.deep.equal([200]);
    // A client that sends unexpected bytes must find the connection closed.
    expect(isClosed).to.equal(true);
  });

  it('answers the first of several pipelined requests, and closes the connection', async () => {
    const request = 'GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n';
    const warnings: Error[] = [];
    const warned = (warning: Error): void => void warnings.push(warning);
    process.on('warning', warned);
    const { answers, isClosed } = await exchange(connection, request.repeat(100));
    process.off('warning', warned);
    expect(answers.map(({ status }) => status)).to.deep.equal([200]);
    expect(isClosed).to.equal(true);
    expect(app.finished).to.have.lengthOf(1);
    // No warning of a hundred listeners where one is enough.
    expect(warnings).to.deep.equal([]);
  });

  it('answers 414 to a target that is too long', async () => {
    const { answers, isClosed } = await ask(`GET /package?digest=${'a'.repeat(8192)} HTTP/1.1`, 'Host: a');
    expect(answers.map(({ status }) => status)).to.deep.equal([414]);
    expect(isClosed).to.equal(true);
  });

  it('ignores an Accept header that would take long to parse, also for an error', async () => {
    for (const [accept, isJson] of [
      ['application/json', true],
      [`application/json${',a/b;q=0.1'.repeat(400)}`, true],
      [`application/json${',a/b;q=0.1'.repeat(5000)}`, false],
    ] as const) {
      const { answers } = await ask('GET /missing HTTP/1.1', 'Host: a', `Accept: ${accept}`);
      expect(answers[0]?.headers.get('content-type')).to.equal(
        isJson ? 'application/problem+json' : 'text/plain; charset=utf-8',
      );
    }
  });

  it('ignores the identity that a client claims', async () => {
    const lines = ['X-Remote-User: system:admin', 'X-Remote-Group: system:masters', 'X-Forwarded-User: root'];
    const forwarded = ['X-Original-URL: /metrics', 'X-Rewrite-URL: /metrics', 'X-HTTP-Method-Override: DELETE'];
    const { answers } = await ask('GET /healthz HTTP/1.1', 'Host: a', ...lines, ...forwarded);
    expect(answers.map(({ status, body }) => [status, body])).to.deep.equal([[200, 'ok']]);
  });

  it('gives the reason in one line', async () => {
    const { answers } = await ask('GET /healthz HTTP/1.1', 'Host: a', 'Content-Length: 1');
    expect(answers[0]?.body).to.equal('a request must have no body\n');
    expect(app.finished[0]).to.include({ status: 400, route: '/healthz' });
  });
});
