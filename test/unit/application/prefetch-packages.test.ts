import { expect } from 'chai';
import sinon from 'sinon';
import { GetPackage } from '../../../src/application/get-package.ts';
import {
  LocalCache,
  NotKeptError,
  prefetchPackages,
  type PrefetchProgress,
} from '../../../src/application/prefetch-packages.ts';
import type { PackageCache } from '../../../src/domain/ports/package-cache.ts';
import { ResolvePackage } from '../../../src/application/resolve-package.ts';
import {
  DigestMismatchError,
  PackageUnknownError,
  StoreFailedError,
  StoreFullError,
  UpstreamThrottledError,
} from '../../../src/domain/errors.ts';
import type { PackageStore } from '../../../src/domain/ports/package-store.ts';
import { DEFAULT_REPOSITORY, type PackageRequest } from '../../../src/domain/reference.ts';
import { bytesOf, makePackage, type TestImage } from '../../support/image.ts';
import { MemoryPackageStore } from '../../support/memory-package-store.ts';
import { type StubbedGateway, stubCredentials, stubGateway } from '../../support/ports.ts';
import { rejection } from '../../support/rejection.ts';
import { chunksOf, readAll } from '../../support/source.ts';

const never = new AbortController().signal;
const images = [makePackage(100_000), makePackage(200_000, 2), makePackage(300_000, 3)];
const request = ({ digest }: TestImage) => ({ digest, repository: DEFAULT_REPOSITORY, path: undefined });

describe('prefetchPackages', () => {
  let last: PrefetchProgress | undefined;
  const into = (cache: PackageCache, concurrency = 3) => ({
    execute: (requests: readonly PackageRequest[], interrupted: AbortSignal) =>
      prefetchPackages(requests, {
        cache,
        concurrency,
        interrupted,
        onProgress: (progress) => {
          last = progress;
        },
      }),
  });

  function localCache(store: PackageStore, gateway: StubbedGateway): LocalCache {
    const options = { store, gateway, credentials: stubCredentials(), parallelDownloads: 64, stopping: never };
    const resolve = new ResolvePackage({ ...options, platform: { os: 'linux', architecture: 'amd64' } });
    return new LocalCache(new GetPackage({ ...options, resolve }));
  }

  it('fetches packages into the cache of this process, and finds them there the next time', async () => {
    const store = new MemoryPackageStore();
    expect(await into(localCache(store, stubGateway(...images))).execute(images.map(request), never)).to.deep.equal([]);
    expect(last).to.deep.equal({ fetched: 3, hits: 0, failed: 0, bytes: 600_000 });
    for (const { layer } of images) {
      const kept = await store.open(layer.descriptor);
      expect(kept && Buffer.compare(await readAll(kept), layer.bytes)).to.equal(0);
    }
    const nobody = stubGateway();
    expect(await into(localCache(store, nobody)).execute(images.map(request), never)).to.deep.equal([]);
    expect(last).to.deep.equal({ fetched: 0, hits: 3, failed: 0, bytes: 600_000 });
  });

  it('skips packages that it cannot get, and reports the causes', async () => {
    const [forged, good] = images as [TestImage, TestImage];
    const gateway = stubGateway(forged, good);
    gateway.fetchBlob
      .withArgs(sinon.match.any, forged.layer.descriptor)
      .callsFake(async () => chunksOf(bytesOf(100_000, 9)));
    const absent = makePackage(5, 5);
    const cache = localCache(new MemoryPackageStore(), gateway);
    const failures = await into(cache, 1).execute([forged, absent, good].map(request), never);
    expect(failures.map(({ request: { digest } }) => digest)).to.deep.equal([forged.digest, absent.digest]);
    expect(failures[0]?.error).to.be.instanceOf(DigestMismatchError);
    expect(failures[1]?.error).to.be.instanceOf(PackageUnknownError);
    expect(last).to.include({ fetched: 1, failed: 2 });
  });

  it('does not fetch packages that are too large for the cache', async () => {
    const gateway = stubGateway(...images);
    const cache = localCache(new MemoryPackageStore(150_000), gateway);
    const failures = await into(cache, 1).execute(images.slice(1, 2).map(request), never);
    expect(failures[0]?.error).to.be.instanceOf(StoreFullError);
  });

  it('reports packages that were evicted before all were fetched', async () => {
    const cache = localCache(new MemoryPackageStore(550_000), stubGateway(...images));
    const failures = await into(cache, 1).execute(images.map(request), never);
    expect(failures.map(({ request: { digest } }) => digest)).to.deep.equal([images[0]?.digest]);
    expect(failures[0]?.error).to.be.instanceOf(NotKeptError);
  });

  it('waits for a Retry-After', async () => {
    const fetch = sinon.stub().onFirstCall().rejects(new UpstreamThrottledError(0)).onSecondCall().resolves(false);
    const cache = { fetch, has: sinon.stub().resolves(true) };
    expect(await into(cache).execute(images.slice(1, 2).map(request), never)).to.deep.equal([]);
    sinon.assert.calledTwice(fetch);
  });

  it('begins no further package when the disk fails', async () => {
    const error = new StoreFailedError();
    const cache = { fetch: sinon.stub().rejects(error), has: sinon.stub() };
    expect(await rejection(into(cache, 1).execute(images.map(request), never))).to.equal(error);
    sinon.assert.calledOnce(cache.fetch);
  });

  it('ends when it is interrupted', async () => {
    const interruption = new AbortController();
    const reason = new Error('enough');
    const cache = {
      fetch: sinon.stub().callsFake(async () => {
        interruption.abort(reason);
        throw reason;
      }),
      has: sinon.stub(),
    };
    expect(await rejection(into(cache, 1).execute(images.map(request), interruption.signal))).to.equal(reason);
    sinon.assert.calledOnce(cache.fetch);
  });
});
