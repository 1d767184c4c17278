import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { TarLayerFiles } from '../../../../src/adapters/archive/tar-layer-files.ts';
import {
  BootstrapListener,
  type BootstrapListenerOptions,
} from '../../../../src/adapters/bootstrap/bootstrap-listener.ts';
import { FilesystemPackageStore } from '../../../../src/adapters/filesystem/filesystem-package-store.ts';
import { Admission, ADMISSION_LIMITS } from '../../../../src/adapters/http/server/admission.ts';
import type { FinishedRequest } from '../../../../src/adapters/http/server/request-record.ts';
import { GetLayerFile } from '../../../../src/application/get-layer-file.ts';
import { GetPackage } from '../../../../src/application/get-package.ts';
import { ResolvePackage } from '../../../../src/application/resolve-package.ts';
import { CredentialsPendingError, UpstreamUnavailableError } from '../../../../src/domain/errors.ts';
import { bytesOf, makeImage, type TestImage } from '../../../support/image.ts';
import { type StubbedCredentials, type StubbedGateway, stubCredentials, stubGateway } from '../../../support/ports.ts';

const UUID = '6f1c5a5e-2f0c-4e8e-9b8f-0d5c7a1b2c3d';
const PROGRAM = Buffer.from(bytesOf(700_000, 3));
const ABSENT = `sha256:${'0'.repeat(64)}`;

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

const unbounded = (): Admission => new Admission({ ...ADMISSION_LIMITS, maxHeldBytes: Infinity });

describe('BootstrapListener', () => {
  let directory: string;
  let listener: BootstrapListener;
  let port: number;
  let gateway: StubbedGateway;
  let credentials: StubbedCredentials;
  let finished: FinishedRequest[];

  function layerOf(arrange: (root: string) => void): Buffer {
    const root = mkdtempSync(join(directory, 'image-'));
    arrange(root);
    return execFileSync('tar', ['-C', root, '-cf', '-', '.'], { maxBuffer: 1 << 30 });
  }

  async function start(images: readonly TestImage[], options: Partial<BootstrapListenerOptions> = {}): Promise<void> {
    const store = new FilesystemPackageStore({ directory: join(directory, 'cache'), maxBytes: 64 << 20 });
    await store.load();
    gateway = stubGateway(...images);
    credentials = stubCredentials();
    finished = [];
    const ports = { store, gateway, credentials, stopping: new AbortController().signal };
    const resolve = new ResolvePackage({ ...ports, platform: { os: 'linux', architecture: 'amd64' } });
    const packages = new GetPackage({ ...ports, resolve, parallelDownloads: 64 });
    const limits = { maxFileBytes: 64 << 20, maxUnpackedBytes: 1 << 30, timeoutMs: 60_000 };
    const files = new GetLayerFile({ ...ports, resolve, packages, files: new TarLayerFiles(), limits });
    const listening = Promise.withResolvers<AddressInfo>();
    listener = new BootstrapListener({
      files,
      clusterUUID: UUID,
      observers: [(request) => finished.push(request)],
      admission: unbounded(),
      listen: { host: '127.0.0.1', port: 0 },
      onFailure: listening.reject,
      onListening: listening.resolve,
      ...options,
    });
    await listener.start();
    ({ port } = await listening.promise);
  }

  /** One request as bytes, to the end of its connection. */
  function exchange(head: string, localAddress = '127.0.0.1'): Promise<Answer> {
    return exchangeBytes(`${head}\r\n\r\n`, localAddress);
  }

  async function exchangeBytes(bytes: string, localAddress = '127.0.0.1'): Promise<Answer> {
    const socket = connect({ port, host: '127.0.0.1', localAddress });
    socket.write(bytes, 'latin1');
    const all = await buffer(socket);
    const end = all.indexOf('\r\n\r\n');
    const [statusLine = '', ...lines] = all.subarray(0, end).toString('latin1').split('\r\n');
    const headers = lines.map((line) => [line.replace(/:.*/, '').toLowerCase(), line.replace(/^[^:]*: ?/, '')]);
    return {
      status: Number(statusLine.split(' ')[1]),
      headers: Object.fromEntries(headers) as Record<string, string>,
      body: all.subarray(end + 4),
    };
  }

  function get(path: string, method = 'GET'): Promise<Answer> {
    return exchange(`${method} ${path} HTTP/1.1\r\nHost: 10.0.0.1:4282\r\nConnection: close`);
  }

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'bootstrap-'));
  });

  afterEach(async () => {
    await listener.stop();
    rmSync(directory, { recursive: true });
  });

  function withProgram(root: string): void {
    mkdirSync(join(root, 'opt/bin'), { recursive: true });
    writeFileSync(join(root, 'opt/bin/rpp-get'), PROGRAM, { mode: 0o755 });
  }

  for (const [format, pack] of Object.entries({
    plain: (bytes: Buffer) => bytes,
    gzip: gzipSync,
    zstd: zstdCompressSync,
  })) {
    it(`answers with the program out of a layer that is packed by ${format}`, async () => {
      const image = makeImage([pack(layerOf(withProgram))]);
      await start([image]);
      const { status, headers, body } = await get(`/${UUID}/rpp-get?digest=${image.digest}`);
      expect(status).to.equal(200);
      expect(body.equals(PROGRAM)).to.equal(true);
      expect(headers).to.include({
        'content-type': 'application/octet-stream',
        'content-length': String(PROGRAM.byteLength),
        'content-disposition': 'attachment; filename="rpp-get"',
        'cache-control': 'no-store',
        'x-content-type-options': 'nosniff',
      });
      expect(headers).to.have.property('repr-digest');
      expect(headers).not.to.have.property('transfer-encoding');
      expect(finished.map(({ route, status: logged, bytes }) => [route, logged, bytes])).to.deep.equal([
        ['/rpp-get', 200, PROGRAM.byteLength],
      ]);
    });
  }

  // Go accepts these forms, which printf, nc and minimal clients write.
  for (const end of [
    ' HTTP/1.0\r\n\r\n',
    ' HTTP/1.0\r\nHost: a\r\n\r\n',
    ' HTTP/1.1\r\nConnection: close\r\n\r\n',
    ' HTTP/1.1\r\nHost: a\r\n\r\n',
    ' HTTP/1.0\n\n',
    ' HTTP/1.1\nHost: a\n\n',
    ' HTTP/1.0\r\nHost: a\n\n',
    ' HTTP/1.1\r\nHost: a\r\nX-Folded: one\r\n two\r\n\r\n',
    ' HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n',
    ' HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nRange: bytes=5-\r\nIf-None-Match: *\r\n\r\n',
    ` HTTP/1.1\r\nHost: a\r\nX-Long: ${'x'.repeat(7 * 1024)}\r\n\r\n`,
  ]) {
    it(`serves a client that writes ${JSON.stringify(end.slice(0, 70))} behind the path, and closes the connection`, async () => {
      const image = makeImage([gzipSync(layerOf(withProgram))]);
      await start([image]);
      const { status, body, headers } = await exchangeBytes(`GET /${UUID}/rpp-get?digest=${image.digest}${end}`);
      expect([status, body.equals(PROGRAM), headers['connection']]).to.deep.equal([200, true, 'close']);
    });
  }

  it('serves a client that writes byte by byte with bare line feeds, and one that has closed its side', async () => {
    const image = makeImage([gzipSync(layerOf(withProgram))]);
    await start([image]);
    const request = `GET /${UUID}/rpp-get?digest=${image.digest} HTTP/1.0\n\n`;
    const slow = connect({ port, host: '127.0.0.1', noDelay: true });
    for (const byte of request) {
      slow.write(byte);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect((await buffer(slow)).subarray(-PROGRAM.byteLength).equals(PROGRAM)).to.equal(true);
    const closed = connect({ port, host: '127.0.0.1' });
    closed.end(request);
    expect((await buffer(closed)).subarray(-PROGRAM.byteLength).equals(PROGRAM)).to.equal(true);
  });

  describe('answers once, and closes the connection, when two parsers could take the end of a request for different places', () => {
    const next = `GET /${UUID}/rpp-get HTTP/1.1\r\nHost: a\r\n\r\n`;
    for (const [what, lines, expected] of [
      ['a request behind another one', '', 200],
      ['two lengths, the first 0', 'Content-Length: 0\r\nContent-Length: 60\r\n', 400],
      ['two lengths, the last 0', 'Content-Length: 60\r\nContent-Length: 0\r\n', 400],
      ['a length and chunks', 'Content-Length: 4\r\nTransfer-Encoding: chunked\r\n', 400],
      ['chunks and a length', 'Transfer-Encoding: chunked\r\nContent-Length: 4\r\n', 400],
      ['a coding that is none', 'Transfer-Encoding: xchunked\r\n', 400],
      ['a length on a folded line', 'X-A: b\r\n Content-Length: 60\r\n', 200],
      ['a length behind a bare carriage return', 'X-A: b\rContent-Length: 60\r\n', 400],
      ['a length behind a NUL', 'X-A: b\0\r\nContent-Length: 60\r\n', 400],
      ['a name with a blank', 'Content-Length : 60\r\n', 400],
    ] as const) {
      it(what, async () => {
        const image = makeImage([layerOf(withProgram)]);
        await start([image]);
        const head = `GET /${UUID}/rpp-get?digest=${image.digest} HTTP/1.1\r\nHost: a\r\n${lines}\r\n`;
        const { status, headers, body } = await exchangeBytes(head + next);
        expect([status, headers['connection'], body.includes('HTTP/1.1')]).to.deep.equal([expected, 'close', false]);
        // Finished before the client has seen the end of its connection.
        expect(finished.map((request) => request.status)).to.deep.equal([expected]);
      });
    }
  });

  it('refuses headers of more than 8 KiB, as much as the Go implementation takes', async () => {
    await start([]);
    const { status, headers, body } = await exchange(`GET /${UUID}/rpp-get HTTP/1.1\r\nX: ${'x'.repeat(8192)}`);
    expect([status, headers['connection'], body.toString()]).to.deep.equal([
      431,
      'close',
      'request headers are too large\n',
    ]);
  });

  it('serves a hundred nodes that ask at once from one download', async () => {
    const image = makeImage([gzipSync(layerOf(withProgram))]);
    await start([image]);
    gateway.fetchManifest.callsFake(async () => {
      await sleep(200);
      return image.manifest.bytes;
    });
    const nodes = Array.from({ length: 100 }, (_, index) =>
      exchange(`GET /${UUID}/rpp-get?digest=${image.digest} HTTP/1.0`, `127.0.1.${String(index + 1)}`),
    );
    const answers = await Promise.all(nodes);
    expect(answers.map(({ status }) => status)).to.deep.equal(Array.from({ length: 100 }, () => 200));
    expect(answers.every(({ body }) => body.equals(PROGRAM))).to.equal(true);
    expect([gateway.fetchManifest.callCount, gateway.fetchBlob.callCount]).to.deep.equal([1, 1]);
  });

  it('serves a node while one address holds a thousand connections that say nothing', async () => {
    const image = makeImage([layerOf(withProgram)]);
    await start([image]);
    const silent = Array.from({ length: 1000 }, () => connect({ port, host: '127.0.0.1', localAddress: '127.0.2.1' }));
    try {
      for (const socket of silent) socket.on('error', () => undefined);
      await Promise.all(silent.map(async (socket) => once(socket, 'connect')));
      expect((await get(`/${UUID}/rpp-get?digest=${image.digest}`)).status).to.equal(200);
    } finally {
      for (const socket of silent) socket.destroy();
    }
  });

  it('takes a whole URL for its path, as a server has to', async () => {
    const image = makeImage([layerOf(withProgram)]);
    await start([image]);
    expect((await get(`http://10.0.0.1:4282/${UUID}/rpp-get?digest=${image.digest}`)).status).to.equal(200);
  });

  it('serves /rpp-get in a cluster without a UUID', async () => {
    const image = makeImage([layerOf(withProgram)]);
    await start([image], { clusterUUID: '' });
    expect((await get(`/rpp-get?digest=${image.digest}`)).status).to.equal(200);
    expect((await get(`/${UUID}/rpp-get?digest=${image.digest}`)).status).to.equal(404);
  });

  it('answers a hundred nodes from one download', async () => {
    const image = makeImage([gzipSync(layerOf(withProgram))]);
    await start([image]);
    const first = await get(`/${UUID}/rpp-get?digest=${image.digest}`);
    expect(first.headers['cache-status']).to.equal('registry-packages-proxy; hit');
    for (let round = 0; round < 25; round++) {
      const answers = await Promise.all(
        Array.from({ length: 4 }, () => get(`/${UUID}/rpp-get?digest=${image.digest}`)),
      );
      expect(answers.every(({ body }) => body.equals(PROGRAM))).to.equal(true);
    }
    expect(gateway.fetchBlob.callCount).to.equal(1);
    expect(gateway.fetchManifest.callCount).to.equal(1);
  });

  const refused: readonly [what: string, path: string, method: string, status: number, body: string][] = [
    ['another path', '/package?digest=D', 'GET', 404, '404 page not found'],
    ['another UUID', `/${UUID.replace('6', '7')}/rpp-get?digest=D`, 'GET', 404, '404 page not found'],
    ['a path without the UUID', '/rpp-get?digest=D', 'GET', 404, '404 page not found'],
    ['a path with a slash at its end', `/${UUID}/rpp-get/?digest=D`, 'GET', 404, '404 page not found'],
    ['a path with two slashes', `//${UUID}/rpp-get?digest=D`, 'GET', 404, '404 page not found'],
    ['an escaped path', `/${UUID}/rpp%2dget?digest=D`, 'GET', 404, '404 page not found'],
    ['a whole URL of another path', `http://10.0.0.1/rpp-get?digest=D`, 'GET', 404, '404 page not found'],
    ['another method on another path', '/', 'POST', 404, '404 page not found'],
    ['another method', `/${UUID}/rpp-get?digest=D`, 'POST', 405, 'method not allowed'],
    ['HEAD', `/${UUID}/rpp-get?digest=D`, 'HEAD', 405, ''],
    ['no digest', `/${UUID}/rpp-get`, 'GET', 400, 'missing required query parameter "digest"'],
    ['an empty digest', `/${UUID}/rpp-get?digest=`, 'GET', 400, 'missing required query parameter "digest"'],
    ['two digests', `/${UUID}/rpp-get?digest=D&digest=D`, 'GET', 400, 'repeated query parameter "digest"'],
    [
      'a digest of another algorithm',
      `/${UUID}/rpp-get?digest=sha512:00`,
      'GET',
      400,
      'digest must be "sha256:" and 64 lower-case hex digits',
    ],
    ['an image that no registry has', `/${UUID}/rpp-get?digest=${ABSENT}`, 'GET', 404, 'package not found'],
    ['an image without the program', `/${UUID}/rpp-get?digest=D`, 'GET', 500, 'internal server error'],
  ];
  for (const [what, path, method, status, body] of refused) {
    it(`answers ${String(status)} to ${what}`, async () => {
      const image = makeImage([
        layerOf((root) => {
          symlinkSync('/etc/passwd', join(root, 'rpp-get'));
        }),
      ]);
      await start([image]);
      const answer = await get(path.replaceAll('D', image.digest), method);
      expect([answer.status, answer.body.toString().trimEnd()]).to.deep.equal([status, body]);
      expect(answer.headers).to.include({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' });
      if (status === 405) expect(answer.headers['allow']).to.equal('GET');
      const asked = gateway.fetchManifest.callCount > 0;
      expect(asked).to.equal(what.startsWith('an image'));
    });
  }

  it('answers 503 until credentials are listed, and 500 when the registry fails', async () => {
    const image = makeImage([layerOf(withProgram)]);
    await start([image]);
    credentials.resolve.onFirstCall().rejects(new CredentialsPendingError());
    const early = await get(`/${UUID}/rpp-get?digest=${image.digest}`);
    expect([early.status, early.headers['retry-after']]).to.deep.equal([503, '1']);
    gateway.fetchManifest.rejects(new UpstreamUnavailableError());
    const failed = await get(`/${UUID}/rpp-get?digest=${image.digest}`);
    expect([failed.status, failed.body.toString()]).to.deep.equal([500, 'internal server error\n']);
    expect(finished.map(({ error }) => error instanceof Error && error.name)).to.deep.equal([
      'CredentialsPendingError',
      'UpstreamUnavailableError',
    ]);
  });

  it('refuses a request with a body, and closes its connection', async () => {
    await start([]);
    const { status, headers } = await exchange(`GET /${UUID}/rpp-get HTTP/1.1\r\nHost: a\r\nContent-Length: 3`);
    expect([status, headers['connection']]).to.deep.equal([400, 'close']);
  });

  it('answers 503 to the fifth request of one address', async () => {
    const image = makeImage([layerOf(withProgram)]);
    await start([image]);
    const held = Promise.withResolvers<never>();
    gateway.fetchManifest.callsFake(() => held.promise);
    const waiting = Array.from({ length: 4 }, () => get(`/${UUID}/rpp-get?digest=${image.digest}`));
    while (gateway.fetchManifest.callCount === 0) await new Promise((resolve) => setImmediate(resolve));
    const { status, headers } = await get(`/${UUID}/rpp-get?digest=${image.digest}`);
    expect([status, headers['retry-after']]).to.deep.equal([503, '1']);
    held.reject(new UpstreamUnavailableError());
    expect((await Promise.all(waiting)).map((answer) => answer.status)).to.deep.equal([500, 500, 500, 500]);
  });

  it('closes the connection of a client whose answer takes too long', async () => {
    const image = makeImage([layerOf(withProgram)]);
    await start([image], { answerTimeoutMs: 50 });
    gateway.fetchManifest.callsFake(() => new Promise(() => undefined));
    const { status } = await get(`/${UUID}/rpp-get?digest=${image.digest}`);
    expect(status).to.be.NaN;
  });

  it('answers 503 when too many bodies are sent at a time', async () => {
    const admission = new Admission({ ...ADMISSION_LIMITS, maxHeldBytes: 7 << 20, maxWaitMs: 20 });
    const image = makeImage([gzipSync(layerOf(withProgram))]);
    await start([image], { admission });
    // Another body occupies the only place.
    const place = await admission.place(16 << 20, () => undefined, new AbortController().signal);
    const { status, headers } = await get(`/${UUID}/rpp-get?digest=${image.digest}`);
    expect(status).to.equal(503);
    expect(Number(headers['retry-after'])).to.be.within(5, 15);
    place.release();
    expect((await get(`/${UUID}/rpp-get?digest=${image.digest}`)).status).to.equal(200);
  });

  it('is not ready while another process uses its port, and opens the port when it is free', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const taken = (other.address() as AddressInfo).port;
    const failed = Promise.withResolvers<Error>();
    const opened = Promise.withResolvers<AddressInfo>();
    listener = new BootstrapListener({
      files: { execute: () => Promise.reject(new Error('unused')) },
      clusterUUID: UUID,
      observers: [],
      admission: unbounded(),
      listen: { host: '127.0.0.1', port: taken },
      onFailure: failed.resolve,
      onListening: opened.resolve,
      retryMs: 20,
    });
    expect(await listener.notReady()).to.equal('the bootstrap port is not open yet');
    await listener.start();
    expect(await listener.notReady()).to.match(/^the bootstrap port cannot be opened: .*EADDRINUSE/);
    expect((await failed.promise).message).to.include('EADDRINUSE');
    other.close();
    expect((await opened.promise).port).to.equal(taken);
    expect(await listener.notReady()).to.equal(undefined);
  });
});
