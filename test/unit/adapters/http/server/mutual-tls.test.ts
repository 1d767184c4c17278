import { expect } from 'chai';
import { once } from 'node:events';
import { connect } from 'node:net';
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls';
import got from 'got';
import { HttpServer, LIMITS } from '../../../../../src/adapters/http/server/http-server.ts';
import { MutualTls, type Refusal, type TlsFiles } from '../../../../../src/adapters/http/server/mutual-tls.ts';
import { CertificateAuthority, type CertifiedKey } from '../../../../../src/adapters/cli/certificate.ts';
import { rejection } from '../../../../support/rejection.ts';
import { ISSUING_CA, serverCertificate } from '../../../../support/tls/certificates.ts';

describe('MutualTls', () => {
  const authority = new CertificateAuthority('loopback');
  const service = authority.issue('service', { usage: 'server', address: '127.0.0.1' });
  const sidecar = authority.issue('sidecar', { usage: 'client' });
  const filesOf = ({ certificate, key }: CertifiedKey, clientCa: string): TlsFiles => ({ certificate, key, clientCa });

  let refused: Refusal[];
  let tls: MutualTls;
  let server: HttpServer;
  let port: number;
  beforeEach(async () => {
    refused = [];
    await start(filesOf(service, authority.certificate), ['sidecar']);
  });
  afterEach(() => server.close(0));

  async function start(files: TlsFiles, clientNames: readonly string[], limits = LIMITS): Promise<void> {
    tls = new MutualTls({ files, clientNames, onRefused: (refusal) => refused.push(refusal) });
    server = new HttpServer((request, response) => response.end(request.url), tls, limits);
    ({ port } = await server.listen('127.0.0.1', 0));
  }

  const ask = (path: string, client?: CertifiedKey, ca = authority.certificate) =>
    got(`https://127.0.0.1:${String(port)}${path}`, {
      https: { certificateAuthority: ca, ...client },
      retry: { limit: 0 },
      throwHttpErrors: false,
    });

  it('accepts a client of the CA by its name', async () => {
    expect((await ask('/package', sidecar)).body).to.equal('/package');
    expect(refused).to.deep.equal([]);
  });

  it('answers only health checks to a client without a certificate', async () => {
    for (const path of ['/healthz', '/readyz']) expect((await ask(path)).body).to.equal(path);
    for (const path of [
      '/package',
      '/metrics',
      '/status',
      '/healthz/',
      '/healthz/../package',
      '/healthz?x',
      '//healthz',
    ]) {
      const { statusCode, body } = await ask(path);
      expect(statusCode, path).to.equal(403);
      expect(body, path).to.equal('a client certificate is required\n');
    }
    expect([...new Set(refused)]).to.deep.equal(['anonymous']);
  });

  const others: [who: string, client: () => CertifiedKey][] = [
    ['the service itself', () => service],
    ['a client of the CA with another name', () => authority.issue('other', { usage: 'client' })],
    ['a certificate of the right name that is for servers', () => authority.issue('sidecar', { usage: 'server' })],
    ['another CA', () => new CertificateAuthority('loopback').issue('sidecar', { usage: 'client' })],
  ];
  for (const [who, client] of others) {
    it(`refuses ${who}on any path`, async () => {
      for (const path of ['/healthz', '/package']) await rejection(ask(path, client()));
      expect(refused).to.deep.equal(['certificate', 'certificate']);
    });
  }

  it('refuses plain HTTP', async () => {
    const plain = connect(port, '127.0.0.1').resume();
    plain.write('GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n');
    await once(plain, 'close');
    expect(refused).to.deep.equal(['handshake']);
  });

  it('does not count a connection that the client closes during the handshake', async () => {
    const silent = connect(port, '127.0.0.1');
    await once(silent, 'connect');
    silent.destroy();
    expect((await ask('/package', sidecar)).statusCode).to.equal(200);
    expect(refused).to.deep.equal([]);
  });

  it('closes a connection whose handshake does not come', async () => {
    await server.close(0);
    await start(filesOf(service, authority.certificate), ['sidecar'], { ...LIMITS, headersTimeoutMs: 50 });
    await once(connect(port, '127.0.0.1').resume(), 'close');
    expect(refused).to.deep.equal(['handshake']);
  });

  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    it(`lets no client in by a resumed session that had no certificate, with ${maxVersion}`, async () => {
      const options: ConnectionOptions = { host: '127.0.0.1', port, ca: authority.certificate, maxVersion };
      const first = await exchange(connectTls(options), '/healthz');
      expect(first.text).to.include('200 OK');
      const second = await exchange(connectTls({ ...options, session: first.session }), '/package');
      expect(second.text).to.include('403 Forbidden');
    });
  }

  it('accepts an issuing CA as a trust anchor without its root', async () => {
    await server.close(0);
    await start(filesOf(service, ISSUING_CA), ['localhost']);
    const issued = serverCertificate('issued');
    expect((await ask('/a', { certificate: issued.cert, key: issued.key })).statusCode).to.equal(200);
    const { cert: certificate, key } = serverCertificate('localhost');
    await rejection(ask('/a', { certificate, key }));
  });

  it('uses changed files from the next connection on, and refuses clients of the previous CA', async () => {
    const other = new CertificateAuthority('loopback');
    tls.use(filesOf(other.issue('service', { usage: 'server', address: '127.0.0.1' }), other.certificate));
    const client = other.issue('sidecar', { usage: 'client' });
    expect((await ask('/package', client, other.certificate)).statusCode).to.equal(200);
    await rejection(ask('/package', sidecar, other.certificate));
  });

  it('keeps the previous files if the new ones do not match', async () => {
    const { certificate } = authority.issue('service', { usage: 'server', address: '127.0.0.1' });
    expect(() => {
      tls.use({ certificate, key: service.key, clientCa: authority.certificate });
    }).to.throw(/key values mismatch/);
    expect(() => {
      tls.use({ certificate: 'none', key: 'none', clientCa: 'none' });
    }).to.throw();
    expect((await ask('/package', sidecar)).statusCode).to.equal(200);
  });
});

async function exchange(socket: TLSSocket, path: string): Promise<{ text: string; session: Buffer | undefined }> {
  await once(socket, 'secureConnect');
  let text = '';
  let session: Buffer | undefined = socket.getSession();
  socket.on('session', (later: Buffer) => (session = later));
  socket.write(`GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
  for await (const chunk of socket) text += String(chunk);
  return { text, session };
}
