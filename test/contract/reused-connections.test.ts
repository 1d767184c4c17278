import { expect } from 'chai';
import { once } from 'node:events';
import { Socket } from 'node:net';
import type { RegistryGateway } from '../../src/domain/ports/registry-gateway.ts';
import type { Upstream } from '../../src/domain/upstream.ts';
import { FakeProxy } from '../support/fake-proxy.ts';
import { FakeRegistry, type FakeRegistryOptions } from '../support/fake-registry.ts';
import { makePackage, type TestImage } from '../support/image.ts';
import { makeRegistryGateway } from '../support/registry-gateway.ts';

/** Each body bypasses the HTTP parser; the last one needs more than the blocks of one body. */
const IMAGES = [300_000, 1_500_000, 5_000_000].map((length) => makePackage(length));
const never = new AbortController().signal;

const WAYS: Readonly<Record<string, FakeRegistryOptions & { readonly proxy?: 'http' | 'socks' }>> = {
  'plain HTTP': {},
  TLS: { tls: 'localhost' },
  'TLS in a tunnel': { tls: 'localhost', proxy: 'http' },
  'TLS through a SOCKS proxy': { tls: 'localhost', proxy: 'socks' },
};

describe('a connection that has delivered a large body', () => {
  const closing: (() => unknown)[] = [];
  afterEach(async () => {
    await Promise.all(closing.splice(0).map((close) => close()));
  });

  async function start(options: FakeRegistryOptions = {}): Promise<FakeRegistry> {
    const registry = await FakeRegistry.start(options);
    for (const image of IMAGES) registry.publish(image);
    closing.push(() => registry.close());
    return registry;
  }

  /** Compares as it reads, since a chunk is valid until the next one. */
  async function expectLayer(gateway: RegistryGateway, upstream: Upstream, image: TestImage): Promise<void> {
    const { descriptor, bytes } = image.layer;
    let at = 0;
    for await (const chunk of await gateway.fetchBlob(upstream, descriptor, 0, never)) {
      expect(Buffer.compare(chunk, bytes.subarray(at, at + chunk.byteLength))).to.equal(0);
      at += chunk.byteLength;
    }
    expect(at).to.equal(bytes.byteLength);
  }

  for (const [way, { proxy: kind, ...options }] of Object.entries(WAYS)) {
    it(`delivers the next manifests and bodies (${way})`, async () => {
      const registry = await start(options);
      const proxy = kind && (await FakeProxy[kind](Number(registry.host.split(':')[1])));
      closing.push(() => proxy?.close());
      const environment = proxy && { HTTPS_PROXY: `${kind === 'socks' ? 'socks5' : 'http'}://${proxy.host}` };
      const gateway = makeRegistryGateway(environment && { environment });
      const upstream = registry.upstream(proxy && { repo: 'registry.test:5000/a' });
      for (const image of [...IMAGES, ...IMAGES]) {
        await gateway.fetchManifest(upstream, image.digest, never);
        await expectLayer(gateway, upstream, image);
      }
      expect(registry.connections).to.equal(1);
    });
  }

  it('is closed if bytes follow the body', async () => {
    const registry = await start();
    const [image] = IMAGES as [TestImage];
    registry.script(({ url }, response) => {
      if (!url.includes('/blobs/')) return false;
      const head = `HTTP/1.1 200 OK\r\ncontent-length: ${String(image.layer.bytes.byteLength)}\r\n\r\n`;
      const forged = 'HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n';
      response.socket?.write(Buffer.concat([Buffer.from(head), image.layer.bytes, Buffer.from(forged)]));
      return true;
    });
    const [gateway, upstream] = [makeRegistryGateway(), registry.upstream()];
    for (let times = 0; times < 3; times++) await expectLayer(gateway, upstream, image);
    expect(registry.connections).to.equal(3);
  });

  it('is closed when an answer arrives without a request, such as the 408 of a proxy', async () => {
    const registry = await start();
    const [image] = IMAGES as [TestImage];
    const sockets: Socket[] = [];
    registry.script((_request, response) => {
      if (response.socket !== null) sockets.push(response.socket);
      return false;
    });
    const [gateway, upstream] = [makeRegistryGateway(), registry.upstream()];
    for (const ask of [
      () => expectLayer(gateway, upstream, image),
      () => gateway.fetchManifest(upstream, image.digest, never),
    ]) {
      await ask();
      const [socket = new Socket()] = sockets.splice(0).reverse();
      socket.write('HTTP/1.1 408 Request Time-out\r\ncontent-length: 0\r\n\r\n');
      await once(socket, 'close');
      await ask();
    }
    expect(registry.connections).to.equal(3);
  });

  it('is closed when the registry sends Connection: close', async () => {
    const registry = await start();
    registry.script((_request, response) => {
      response.setHeader('connection', 'close');
      return false;
    });
    const [gateway, upstream] = [makeRegistryGateway(), registry.upstream()];
    for (const image of IMAGES) await expectLayer(gateway, upstream, image);
    expect(registry.connections).to.equal(IMAGES.length);
  });

  it('is closed when its reader leaves before the end', async () => {
    const registry = await start();
    const [gateway, upstream] = [makeRegistryGateway(), registry.upstream()];
    const [, , image] = IMAGES as [TestImage, TestImage, TestImage];
    for await (const chunk of await gateway.fetchBlob(upstream, image.layer.descriptor, 0, never)) {
      expect(chunk.byteLength).to.be.greaterThan(0);
      break;
    }
    await expectLayer(gateway, upstream, image);
    expect(registry.connections).to.equal(2);
  });

  it('does not affect the body of the next answer after its own request has ended', async () => {
    const registry = await start();
    const [gateway, upstream] = [makeRegistryGateway(), registry.upstream()];
    for (let times = 0; times < 20; times++) {
      await Promise.all(IMAGES.map((image) => expectLayer(gateway, upstream, image)));
    }
    expect(registry.connections).to.be.at.most(IMAGES.length);
  });

  it('is not closed by the abort of a request that has ended', async () => {
    const registry = await start();
    const [gateway, upstream] = [makeRegistryGateway(), registry.upstream()];
    const [first, second] = IMAGES as [TestImage, TestImage];
    const over = new AbortController();
    const chunks = await gateway.fetchBlob(upstream, first.layer.descriptor, 0, over.signal);
    for await (const chunk of chunks) expect(chunk.byteLength).to.be.greaterThan(0);
    const next = await gateway.fetchBlob(upstream, second.layer.descriptor, 0, never);
    over.abort();
    let received = 0;
    for await (const chunk of next) received += chunk.byteLength;
    expect(received).to.equal(second.layer.bytes.byteLength);
    expect(registry.connections).to.equal(1);
  });
});
