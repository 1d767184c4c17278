import { expect } from 'chai';
import sinon from 'sinon';
import { ResolvePackage } from '../../../src/application/resolve-package.ts';
import { InvalidContentError, PackageUnknownError } from '../../../src/domain/errors.ts';
import { DEFAULT_REPOSITORY, parseRepositoryName } from '../../../src/domain/reference.ts';
import { bytesOf, makeBlob, makeImage, makeIndex, makePackage } from '../../support/image.ts';
import { MemoryPackageStore } from '../../support/memory-package-store.ts';
import { type StubbedGateway, stubCredentials, stubGateway } from '../../support/ports.ts';
import { rejection } from '../../support/rejection.ts';
import { ingest, sourceOf } from '../../support/source.ts';

const amd64 = { os: 'linux', architecture: 'amd64' };
const arm64 = { os: 'linux', architecture: 'arm64' };

describe('ResolvePackage', () => {
  const credentials = stubCredentials();
  let store: MemoryPackageStore;
  beforeEach(() => {
    store = new MemoryPackageStore();
  });

  function over(gateway: StubbedGateway, platform = amd64): ResolvePackage {
    return new ResolvePackage({ store, gateway, credentials, platform, stopping: new AbortController().signal });
  }

  /** With a manifest of 100 KB. */
  function largeImage(
    seed: number,
    annotations: Readonly<Record<string, string>> = { text: 'x'.repeat(100_000) },
  ): ReturnType<typeof makePackage> {
    const image = makePackage(10, seed);
    const { manifest } = image;
    const text = JSON.stringify({
      ...(JSON.parse(Buffer.from(manifest.bytes).toString()) as object),
      annotations,
    });
    const large = makeBlob(manifest.descriptor.mediaType, Buffer.from(text));
    return { ...image, digest: large.descriptor.digest, manifest: large };
  }

  const request = (digest: ReturnType<typeof makePackage>['digest']) => ({
    digest,
    repository: DEFAULT_REPOSITORY,
    path: undefined,
  });

  for (const dialect of ['oci', 'docker'] as const) {
    it(`finds the last of several layers (${dialect})`, async () => {
      const image = makeImage([bytesOf(10), bytesOf(20, 2), bytesOf(30, 3)], dialect);
      const found = await over(stubGateway(image)).execute(request(image.digest));
      expect(found).to.deep.equal({ digest: image.digest, layer: image.layer.descriptor });
    });

    it(`finds the configured platform's image in an index (${dialect})`, async () => {
      const [first, second] = [makeImage([bytesOf(10)], dialect), makeImage([bytesOf(20, 2)], dialect)];
      const index = makeIndex(
        [
          { image: first, platform: arm64 },
          { image: second, platform: amd64 },
        ],
        dialect,
      );
      const gateway = stubGateway(index);
      const found = await over(gateway).execute(request(index.digest));
      expect(found).to.deep.equal({ digest: index.digest, layer: second.layer.descriptor });
      expect((await over(gateway, arm64).execute(request(index.digest))).layer).to.deep.equal(first.layer.descriptor);
    });
  }

  it('reads a cached layer that is requested as a manifest once', async () => {
    const image = makePackage(100_000);
    const { descriptor, bytes } = image.layer;
    await (
      await ingest(store, descriptor, sourceOf(bytes))
    ).settled;
    const opened = sinon.spy(store, 'open');
    const gateway = stubGateway(image);
    const resolve = over(gateway);
    for (let times = 1; times <= 3; times++) {
      const error = await rejection(resolve.execute(request(descriptor.digest)));
      expect(error).to.be.instanceOf(PackageUnknownError);
      sinon.assert.calledOnce(opened);
      sinon.assert.callCount(gateway.fetchManifest, times);
    }
  });

  it('reads a cached index without the platform once, and again if the registry fails', async () => {
    const index = makeIndex([{ image: makePackage(10), platform: arm64 }]);
    const resolve = over(stubGateway(index));
    const first = await rejection(resolve.execute(request(index.digest)));
    const opened = sinon.spy(store, 'open');
    expect(await rejection(resolve.execute(request(index.digest)))).to.equal(first);
    expect(first).to.be.instanceOf(InvalidContentError);
    sinon.assert.notCalled(opened);

    const usable = makeIndex([{ image: makePackage(10, 2), platform: amd64 }]);
    const gateway = stubGateway(usable);
    gateway.fetchManifest.onSecondCall().rejects(new InvalidContentError('manifest is larger than 4 MiB'));
    const again = over(gateway);
    expect(await rejection(again.execute(request(usable.digest)))).to.be.instanceOf(InvalidContentError);
    expect((await again.execute(request(usable.digest))).digest).to.equal(usable.digest);
  });

  it('parses large manifests in separate turns, so that other work runs in between', async () => {
    const images = [1, 2, 3].map((seed) => largeImage(seed));
    const resolve = over(stubGateway(...images));
    let turns = 0;
    let isDone = false;
    const count = (): void => {
      turns++;
      if (!isDone) setImmediate(count);
    };
    setImmediate(count);
    const found = await Promise.all(images.map(({ digest }) => resolve.execute(request(digest))));
    isDone = true;
    expect(found.map(({ layer }) => layer)).to.deep.equal(images.map(({ layer }) => layer.descriptor));
    expect(turns).to.be.at.least(3);
  });

  it('checks a manifest of 3 MiB in one turn for each 512 KiB, in addition to those of its fetch', async () => {
    const turnsOf = async (annotations: Record<string, string>): Promise<number> => {
      const image = largeImage(1, annotations);
      const resolve = over(stubGateway(image));
      let turns = 0;
      let isDone = false;
      const count = (): void => {
        turns++;
        if (!isDone) setImmediate(count);
      };
      setImmediate(count);
      await resolve.execute(request(image.digest));
      isDone = true;
      return turns;
    };
    // A text is one step, however long it is.
    const fetching = await turnsOf({ text: 'x'.repeat(3_000_000) });
    const texts = Array.from({ length: 10_000 }, (_, key) => [String(key), 'x'.repeat(300)] as const);
    expect(await turnsOf(Object.fromEntries(texts))).to.be.at.least(fetching + 4);
  });

  it('begins one fetch of a manifest in a turn of the event loop', async () => {
    const images = [1, 2, 3, 4, 5].map((seed) => makePackage(10, seed));
    const gateway = stubGateway(...images);
    const resolve = over(gateway);
    const found = images.map(({ digest }) => resolve.execute(request(digest)));
    const begun: number[] = [];
    while (begun.at(-1) !== images.length) {
      await new Promise((next) => setImmediate(next));
      begun.push(gateway.fetchManifest.callCount);
    }
    await Promise.all(found);
    expect(new Set(begun).size).to.be.at.least(4);
  });

  it('reads cached large manifests one at a time, and each once for all requests', async () => {
    const images = [1, 2, 3].map((seed) => largeImage(seed));
    await Promise.all(images.map(({ digest }) => over(stubGateway(...images)).manifest(request(digest))));
    const resolve = over(stubGateway());
    const opened = sinon.spy(store, 'open');
    const turns = new Set<string>();
    const answers = await Promise.all(
      images.flatMap(({ digest }) =>
        Array.from({ length: 20 }, async () => {
          const { bytes } = await resolve.manifest(request(digest));
          turns.add(digest);
          return bytes;
        }),
      ),
    );
    expect(opened.callCount).to.equal(3);
    expect([...turns]).to.deep.equal(images.map(({ digest }) => digest));
    expect(new Set(answers).size).to.equal(3);
  });

  it('requests a manifest, an index and its image only once', async () => {
    const index = makeIndex([{ image: makePackage(10), platform: amd64 }]);
    const gateway = stubGateway(index);
    const resolve = over(gateway);
    await Promise.all([1, 2, 3].map(() => resolve.execute(request(index.digest))));
    await resolve.execute(request(index.digest));
    sinon.assert.calledTwice(gateway.fetchManifest);
  });

  it('reads no manifest again that it has resolved', async () => {
    const image = makePackage(10);
    const open = sinon.spy(store, 'open');
    const resolve = over(stubGateway(image));
    const first = await resolve.execute(request(image.digest));
    open.resetHistory();
    expect(await resolve.execute(request(image.digest))).to.equal(first);
    sinon.assert.notCalled(open);
  });

  it('resolves a manifest from the cache of an earlier process without asking a registry', async () => {
    const index = makeIndex([{ image: makePackage(10), platform: amd64 }]);
    const expected = await over(stubGateway(index)).execute(request(index.digest));
    const gateway = stubGateway();
    expect(await over(gateway).execute(request(index.digest))).to.deep.equal(expected);
    sinon.assert.notCalled(gateway.fetchManifest);
  });

  it('does not share an answer between repositories', async () => {
    const image = makePackage(10);
    const gateway = stubGateway(image);
    const resolve = over(gateway);
    const other = { ...request(image.digest), repository: parseRepositoryName('other.example/modules') };
    await Promise.all([resolve.execute(request(image.digest)), resolve.execute(other)]);
    sinon.assert.calledTwice(gateway.fetchManifest);
  });

  it('refuses an image without layers, and an index with only other platforms', async () => {
    const empty = makeImage([]);
    const foreign = makeIndex([{ image: makePackage(10), platform: arm64 }]);
    const resolve = over(stubGateway(empty, foreign));
    for (const { digest } of [empty, foreign]) {
      expect(await rejection(resolve.execute(request(digest)))).to.be.instanceOf(InvalidContentError);
    }
  });

  it('follows an index within an index, and remembers the result', async () => {
    const inner = makeIndex([{ image: makePackage(10), platform: amd64 }]);
    const outer = makeIndex([
      { image: { ...makePackage(10), digest: inner.digest, manifest: inner.index }, platform: amd64 },
    ]);
    const resolve = over(stubGateway(inner, outer));
    expect(await resolve.recall(outer.digest)).to.deep.equal({ missing: outer.digest });
    const found = await resolve.execute(request(outer.digest));
    expect(found.layer).to.deep.equal(makePackage(10).layer.descriptor);
    expect(await over(stubGateway()).recall(outer.digest)).to.deep.equal(found);
  });

  it('asks the registry for a digest if the cached blob is not a manifest', async () => {
    const { layer } = makePackage(5_000_000);
    await (
      await ingest(store, layer.descriptor, sourceOf(layer.bytes))
    ).settled;
    const small = makePackage(10).layer;
    await (
      await ingest(store, small.descriptor, sourceOf(small.bytes))
    ).settled;
    const resolve = over(stubGateway());
    for (const { descriptor } of [layer, small]) {
      const error = await rejection(resolve.execute(request(descriptor.digest)));
      expect(error).to.be.instanceOf(PackageUnknownError);
    }
  });
});
