import { expect } from 'chai';
import { once } from 'node:events';
import { Agent, get, type IncomingMessage, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import got from 'got';
import { HttpServer } from '../../../../src/adapters/http/http-server.ts';
import { CA, serverCertificate } from '../../../support/tls/certificates.ts';
import { rejection } from '../../../support/rejection.ts';

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

  it('lets what runs finish, and accepts nothing new meanwhile', async () => {
    const response = await ask('/slow');
    const closed = server.close(10_000);
    expect(await rejection(once(connect(port, '127.0.0.1'), 'connect'))).to.have.property('code', 'ECONNREFUSED');
    running[0]?.end('ow');
    expect(await body(response)).to.equal('slow');
    await closed;
  });

  it('does not wait for connections that are merely kept alive', async () => {
    const agent = new Agent({ keepAlive: true });
    expect(await body(await ask('/now', agent))).to.equal('now');
    await server.close(10_000);
    agent.destroy();
  });

  it('cuts off at the deadline what has not finished', async () => {
    const response = await ask('/slow');
    const cut = rejection(body(response));
    await server.close(50);
    expect(await cut).to.have.property('code', 'ECONNRESET');
  });

  it('says why it cannot listen', async () => {
    const second = new HttpServer(() => undefined);
    expect(await rejection(second.listen('127.0.0.1', port))).to.have.property('code', 'EADDRINUSE');
    await server.close(0);
  });

  describe('with TLS', () => {
    const { cert, key } = serverCertificate('localhost');
    let hardened: HttpServer;
    let address: string;
    beforeEach(async () => {
      hardened = new HttpServer((_request, response) => response.end('ok'), {
        certificate: cert,
        key,
        clientCa: CA,
      });
      address = `127.0.0.1:${String((await hardened.listen('127.0.0.1', 0)).port)}`;
      await server.close(0);
    });
    afterEach(() => hardened.close(0));
    const ask = (scheme: string, https: object) => got(`${scheme}://${address}`, { https, retry: { limit: 0 } }).text();

    it('lets in whoever has a certificate of its CA', async () => {
      expect(await ask('https', { certificateAuthority: CA, certificate: cert, key })).to.equal('ok');
    });

    it('lets in nobody else', async () => {
      await rejection(ask('http', {}));
      await rejection(ask('https', { certificateAuthority: CA }));
    });
  });
});
