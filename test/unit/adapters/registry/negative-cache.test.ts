import { expect } from 'chai';
import { inspect } from 'node:util';
import { NegativeCache } from '../../../../src/adapters/registry/negative-cache.ts';
import { PackageUnknownError, UpstreamDeniedError, UpstreamUnavailableError } from '../../../../src/domain/errors.ts';
import { parseRepositoryPath } from '../../../../src/domain/reference.ts';
import type { Upstream } from '../../../../src/domain/upstream.ts';
import { FakeRegistry } from '../../../support/fake-registry.ts';
import { makePackage, type TestImage } from '../../../support/image.ts';
import { makeRegistryGateway } from '../../../support/registry-gateway.ts';
import { rejection } from '../../../support/rejection.ts';

const signal = new AbortController().signal;

describe('NegativeCache', () => {
  let registry: FakeRegistry;
  let upstream: Upstream;
  let now: number;
  let cache: NegativeCache;
  beforeEach(async () => {
    registry = await FakeRegistry.start();
    upstream = registry.upstream();
    now = 0;
    cache = new NegativeCache(makeRegistryGateway(), () => now);
  });
  afterEach(() => registry.close());

  const image = makePackage(100);
  const manifest = (of: TestImage, from = upstream): Promise<Uint8Array> =>
    cache.fetchManifest(from, of.digest, signal);
  const blob = (of: TestImage): Promise<unknown> => cache.fetchBlob(upstream, of.layer.descriptor, 0, signal);

  it('requests missing content once, however often clients request it', async () => {
    for (let i = 0; i < 100; i++) {
      const error = await rejection(manifest(image));
      expect(error).to.be.instanceOf(PackageUnknownError).with.property('code', 'MANIFEST_UNKNOWN');
    }
    for (let i = 0; i < 100; i++) {
      const error = await rejection(blob(image));
      expect(error).to.be.instanceOf(PackageUnknownError).with.property('code', 'BLOB_UNKNOWN');
    }
    expect(registry.log).to.have.lengthOf(2);
  });

  it('has the remembered answer as its cause', async () => {
    await rejection(manifest(image));
    const text = inspect(await rejection(manifest(image)));
    expect(text).to.include('remembered answer').and.include(`manifest from ${registry.host}: status 404`);
  });

  it('requests it again after five seconds, and finds content that was published since', async () => {
    await rejection(manifest(image));
    registry.publish(image);
    now = 4999;
    await rejection(manifest(image));
    now = 5000;
    expect((await manifest(image)).byteLength).to.equal(image.manifest.bytes.byteLength);
  });

  it('distinguishes registries, credentials, repositories, kinds and digests', async () => {
    await rejection(manifest(image));
    await rejection(manifest(image, registry.upstream()));
    await rejection(manifest(image, { ...upstream, repository: parseRepositoryPath('other') }));
    await rejection(blob(image));
    await rejection(manifest(makePackage(101)));
    expect(registry.log).to.have.lengthOf(5);
  });

  it('remembers no failures and no refusals', async () => {
    registry.publish(image);
    for (const [status, type] of [
      [403, UpstreamDeniedError],
      [501, UpstreamUnavailableError],
    ] as const) {
      registry.failTimes('/manifests/', { status });
      expect(await rejection(manifest(image))).to.be.instanceOf(type);
      await manifest(image);
    }
  });

  it('remembers the last thousand, however many are requested', async () => {
    await rejection(manifest(image));
    const gateway = {
      knownRefusal: () => undefined,
      fetchManifest: () => Promise.reject(new PackageUnknownError('MANIFEST_UNKNOWN')),
      fetchBlob: () => Promise.reject(new PackageUnknownError('BLOB_UNKNOWN')),
    };
    let asked = 0;
    const counting = new NegativeCache(
      { ...gateway, fetchManifest: () => (asked++, gateway.fetchManifest()) },
      () => now,
    );
    const ask = (size: number): Promise<unknown> =>
      rejection(counting.fetchManifest(upstream, makePackage(size).digest, signal));
    for (let size = 0; size <= 1000; size++) await ask(size);
    await ask(1);
    expect(asked).to.equal(1001);
    await ask(0);
    expect(asked).to.equal(1002);
  });
});
