import { expect } from 'chai';
import { UpstreamUnavailableError } from '../../../../../src/domain/errors.ts';
import { FakeRegistry } from '../../../../support/fake-registry.ts';
import { makePackage } from '../../../../support/image.ts';
import { makeRegistryGateway } from '../../../../support/registry-gateway.ts';
import { rejection } from '../../../../support/rejection.ts';

const image = makePackage(300_000);
const never = new AbortController().signal;

async function readAll(chunks: AsyncIterable<Uint8Array>): Promise<void> {
  let received = 0;
  for await (const chunk of chunks) received += chunk.byteLength;
  expect(received).to.equal(image.layer.bytes.byteLength);
}

describe('Exchange, behind OciRegistryGateway,', () => {
  let registry: FakeRegistry;
  beforeEach(async () => {
    registry = await FakeRegistry.start({ auth: 'bearer' });
    registry.publish(image);
  });
  afterEach(() => registry.close());

  function fetchBoth(): Promise<void> {
    const [gateway, upstream] = [makeRegistryGateway({ retryTimeoutMs: 0 }), registry.upstream()];
    return gateway
      .fetchManifest(upstream, image.digest, never)
      .then(() => gateway.fetchBlob(upstream, image.layer.descriptor, 0, never))
      .then(readAll);
  }

  /** One large header, or many small ones. */
  const pads: Record<string, (bytes: number) => [name: string, value: string][]> = {
    'one header': (bytes) => [['content-security-policy', 'x'.repeat(bytes)]],
    'many headers': (bytes) => Array.from({ length: bytes / 1024 }, (_, i) => [`x-${String(i)}`, 'x'.repeat(1000)]),
  };

  for (const place of ['/manifests/', '/blobs/', '/token'] as const) {
    for (const [kind, pad] of Object.entries(pads)) {
      it(`accepts 60 KiB of headers (${place}, ${kind})`, async () => {
        registry.script(({ url }, response) => {
          if (url.includes(place)) for (const [name, value] of pad(60 * 1024)) response.setHeader(name, value);
          return false;
        });
        await fetchBoth();
      });

      it(`names the host that sends more than 64 KiB of headers (${place}, ${kind})`, async () => {
        registry.script(({ url }, response) => {
          if (url.includes(place)) for (const [name, value] of pad(72 * 1024)) response.setHeader(name, value);
          return false;
        });
        const error = await rejection(fetchBoth());
        expect(error).to.be.instanceOf(UpstreamUnavailableError);
        expect(error.cause)
          .to.have.property('message')
          .that.includes(`from ${registry.host}: more than 64 KiB of headers (HPE_HEADER_OVERFLOW)`);
      });
    }
  }
});
