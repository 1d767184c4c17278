import { expect } from 'chai';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import sinon from 'sinon';
import { type Delivery, GetPackage } from '../../../src/application/get-package.ts';
import { ResolvePackage } from '../../../src/application/resolve-package.ts';
import {
  CredentialsPendingError,
  DigestMismatchError,
  PackageUnknownError,
  RepositoryUnknownError,
  StoreFailedError,
  UpstreamUnavailableError,
} from '../../../src/domain/errors.ts';
import { DEFAULT_REPOSITORY, type PackageRequest, parseRepositoryPath } from '../../../src/domain/reference.ts';
import type { PackageStore } from '../../../src/domain/ports/package-store.ts';
import { bytesOf, encode, makeBlob, makePackage, type TestImage } from '../../support/image.ts';
import { MemoryPackageStore, storeWith } from '../../support/memory-package-store.ts';
import { type StubbedCredentials, type StubbedGateway, stubCredentials, stubGateway } from '../../support/ports.ts';
import { rejection } from '../../support/rejection.ts';
import { HeldSource, readAll, readSome } from '../../support/source.ts';

const image = makePackage(400_000);

function requestOf({ digest }: TestImage, path?: string): PackageRequest {
  return { digest, repository: DEFAULT_REPOSITORY, path: path === undefined ? undefined : parseRepositoryPath(path) };
}

describe('GetPackage', () => {
  let gateway: StubbedGateway;
  let credentials: StubbedCredentials;
  beforeEach(() => {
    gateway = stubGateway(image);
    credentials = stubCredentials();
  });

  function over(store: PackageStore): GetPackage {
    const stopping = new AbortController().signal;
    const platform = { os: 'linux', architecture: 'amd64' };
    const ports = { store, gateway, credentials, parallelDownloads: 64, stopping };
    return new GetPackage({ ...ports, resolve: new ResolvePackage({ ...ports, platform }) });
  }

  const get = (useCase: GetPackage): Promise<Delivery> => useCase.execute(requestOf(image));

  it('delivers the last layer, and reports a miss', async () => {
    const delivery = await get(over(new MemoryPackageStore()));
    expect(delivery.cache.kind).to.equal('miss');
    expect(delivery.package).to.deep.equal({ digest: image.digest, layer: image.layer.descriptor });
    expect(Buffer.compare(await readAll(delivery.blob), image.layer.bytes)).to.equal(0);
  });

  it('holds no bytes of a bypassing download while its client waits for a place', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const full = new MemoryPackageStore(10);
    const reserve = sinon.stub(full, 'reserve').callThrough();
    const turn = Promise.withResolvers<undefined>();
    const waits = Promise.withResolvers<undefined>();
    const delivering = over(full).execute(requestOf(image), undefined, () => {
      waits.resolve(undefined);
      return turn.promise;
    });
    await waits.promise;
    const refusal = new WeakRef(await rejection(reserve.lastCall.returnValue));
    reserve.resetHistory();
    // A reference is kept for the rest of the turn in which it was made.
    await new Promise((resolve) => setImmediate(resolve));
    collect();
    expect(refusal.deref()).to.equal(undefined);
    turn.resolve(undefined);
    expect(Buffer.compare(await readAll((await delivering).blob), image.layer.bytes)).to.equal(0);
  });

  describe('content in the descriptor of the layer', () => {
    /** Without its layer as a blob. */
    function embedding(content: Uint8Array): TestImage {
      const data = Buffer.from(content).toString('base64');
      const layers = [{ ...image.layer.descriptor, data }];
      const manifest = makeBlob(image.manifest.descriptor.mediaType, encode({ schemaVersion: 2, layers }));
      return { ...image, digest: manifest.descriptor.digest, manifest, blobs: [] };
    }

    for (const [what, store] of [
      ['cached', () => new MemoryPackageStore()],
      ['served without a cache', () => new MemoryPackageStore(10)],
    ] as const) {
      it(`is verified and ${what}, and the registry is not asked for the layer`, async () => {
        const embedded = embedding(image.layer.bytes);
        gateway = stubGateway(embedded);
        const useCase = over(store());
        for (let times = 0; times < 2; times++) {
          const { blob } = await useCase.execute(requestOf(embedded));
          expect(Buffer.compare(await readAll(blob), image.layer.bytes)).to.equal(0);
        }
        sinon.assert.notCalled(gateway.fetchBlob);
      });
    }

    it('is ignored if it is wrong, and the layer is fetched', async () => {
      const embedded = { ...embedding(bytesOf(400_000, 2)), blobs: image.blobs };
      gateway = stubGateway(embedded);
      const { blob } = await over(new MemoryPackageStore()).execute(requestOf(embedded));
      expect(Buffer.compare(await readAll(blob), image.layer.bytes)).to.equal(0);
      sinon.assert.calledOnce(gateway.fetchBlob);
    });
  });

  it('needs no credentials and no registry for a cached package', async () => {
    const useCase = over(new MemoryPackageStore());
    await readAll((await get(useCase)).blob);
    credentials.resolve.resetHistory();
    gateway.fetchManifest.resetHistory();
    gateway.fetchBlob.resetHistory();
    const delivery = await get(useCase);
    expect(delivery.cache.kind).to.equal('hit');
    expect(Buffer.compare(await readAll(delivery.blob), image.layer.bytes)).to.equal(0);
    sinon.assert.notCalled(credentials.resolve);
    sinon.assert.notCalled(gateway.fetchManifest);
    sinon.assert.notCalled(gateway.fetchBlob);
  });

  it('requests the image below the repository if there is a path', async () => {
    const delivery = await over(new MemoryPackageStore()).execute(requestOf(image, 'modules/ingress'));
    await readAll(delivery.blob);
    for (const call of [gateway.fetchManifest.firstCall, gateway.fetchBlob.firstCall]) {
      expect(call.args[0].repository).to.equal('deckhouse/modules/ingress');
    }
  });

  it('fetches once for all requests at the same time', async () => {
    const useCase = over(new MemoryPackageStore());
    const deliveries = await Promise.all(Array.from({ length: 64 }, () => get(useCase)));
    const bodies = await Promise.all(deliveries.map(({ blob }) => readAll(blob)));
    for (const body of bodies) expect(Buffer.compare(body, image.layer.bytes)).to.equal(0);
    sinon.assert.calledOnce(gateway.fetchManifest);
    sinon.assert.calledOnce(gateway.fetchBlob);
    const kinds = deliveries.map(({ cache }) => cache.kind);
    expect(kinds.filter((kind) => kind === 'miss')).to.have.lengthOf(1);
    expect(kinds.filter((kind) => kind === 'joined')).to.have.lengthOf(63);
  });

  it('joins a download before it looks in the store, so that a package is found while it moves to the store', async () => {
    const held = new HeldSource();
    gateway.fetchBlob.callsFake(() => held.source());
    const memory = new MemoryPackageStore();
    const arrived = Promise.withResolvers<undefined>();
    let begun = false;
    const useCase = over(
      storeWith(memory, {
        open: async (sought) => {
          const found = await memory.open(sought);
          if (begun && sought.digest === image.layer.descriptor.digest) await arrived.promise;
          return found;
        },
      }),
    );
    const first = await get(useCase);
    begun = true;
    const second = get(useCase);
    held.give(image.layer.bytes).end();
    await readAll(first.blob);
    arrived.resolve(undefined);
    const { cache, blob } = await second;
    expect(cache).to.deep.equal({ kind: 'joined' });
    expect(Buffer.compare(await readAll(blob), image.layer.bytes)).to.equal(0);
    sinon.assert.calledOnce(gateway.fetchBlob);
  });

  it('continues a download when the client that began it has left', async () => {
    const held = new HeldSource().give(image.layer.bytes.subarray(0, 100_000));
    gateway.fetchBlob.callsFake(() => held.source());
    const store = new MemoryPackageStore();
    const useCase = over(store);
    const first = await get(useCase);
    await readSome(first.blob, 10_000);
    const second = await get(useCase);
    await first.blob.close();
    held.give(image.layer.bytes.subarray(100_000)).end();
    expect(Buffer.compare(await readAll(second.blob), image.layer.bytes)).to.equal(0);
    expect((await get(useCase)).cache.kind).to.equal('hit');
  });

  for (const [where, maxBytes] of [
    ['kept', undefined],
    ['passed through', 10_000],
  ] as const) {
    it(`resumes a download where it broke off, if the package is ${where}`, async () => {
      gateway.fetchBlob
        .onFirstCall()
        .callsFake(() =>
          new HeldSource().give(image.layer.bytes.subarray(0, 150_000)).fail(new UpstreamUnavailableError()).source(),
        );
      gateway.fetchBlob
        .onSecondCall()
        .callsFake((_upstream, _blob, offset) =>
          new HeldSource().give(image.layer.bytes.subarray(offset)).end().source(),
        );
      const { blob } = await get(over(new MemoryPackageStore(maxBytes)));
      expect(Buffer.compare(await readAll(blob), image.layer.bytes)).to.equal(0);
      sinon.assert.calledTwice(gateway.fetchBlob);
      expect(gateway.fetchBlob.secondCall.args[2]).to.equal(150_000);
    });
  }

  it('never completes a layer with wrong bytes, and starts again the next time', async () => {
    const forged = image.layer.bytes.slice();
    forged[0] = (forged[0] ?? 0) ^ 1;
    gateway.fetchBlob.onFirstCall().callsFake(() => new HeldSource().give(forged).end().source());
    const useCase = over(new MemoryPackageStore());
    const { blob } = await get(useCase);
    expect(await rejection(readAll(blob))).to.be.instanceOf(DigestMismatchError);
    const again = await get(useCase);
    expect(again.cache.kind).to.equal('miss');
    expect(Buffer.compare(await readAll(again.blob), image.layer.bytes)).to.equal(0);
  });

  it('refuses a manifest with a wrong digest, and caches nothing of it', async () => {
    const other = makePackage(10, 2);
    gateway.fetchManifest.resolves(other.manifest.bytes);
    const store = new MemoryPackageStore();
    expect(await rejection(get(over(store)))).to.be.instanceOf(DigestMismatchError);
    expect(store.bytes).to.equal(0);
  });

  const failures: [what: string, fail: () => void, error: new (...args: never[]) => Error][] = [
    [
      'the repository is unknown',
      () => credentials.resolve.onFirstCall().rejects(new RepositoryUnknownError()),
      RepositoryUnknownError,
    ],
    [
      'credentials are pending',
      () => credentials.resolve.onFirstCall().rejects(new CredentialsPendingError()),
      CredentialsPendingError,
    ],
    [
      'the registry is away',
      () => gateway.fetchManifest.onFirstCall().rejects(new UpstreamUnavailableError()),
      UpstreamUnavailableError,
    ],
    [
      'the layer is not there',
      () => gateway.fetchBlob.onFirstCall().rejects(new PackageUnknownError('BLOB_UNKNOWN')),
      PackageUnknownError,
    ],
  ];
  for (const [what, fail, error] of failures) {
    it(`says so when ${what}to all waiting requests, and tries again for the next`, async () => {
      const useCase = over(new MemoryPackageStore());
      fail();
      const outcomes = await Promise.all([1, 2, 3].map(() => rejection(get(useCase))));
      for (const outcome of outcomes) expect(outcome).to.be.instanceOf(error);
      const healed = await get(useCase);
      expect(Buffer.compare(await readAll(healed.blob), image.layer.bytes)).to.equal(0);
    });
  }

  it('treats a manifest with a wrong size as if the layer were not cached', async () => {
    for (const size of [1000, 399_999, 400_001, 500_000]) await expectRefused(size);
  });

  async function expectRefused(size: number): Promise<void> {
    const { mediaType, digest } = image.layer.descriptor;
    const text = JSON.stringify({
      schemaVersion: 2,
      mediaType: image.manifest.descriptor.mediaType,
      layers: [{ mediaType, digest, size }],
    });
    const lying = makeBlob(image.manifest.descriptor.mediaType, Buffer.from(text));
    gateway.fetchManifest.callsFake(async (_upstream, asked) =>
      asked === image.digest ? image.manifest.bytes : lying.bytes,
    );
    const request = { ...requestOf(image), digest: lying.descriptor.digest };
    const useCase = over(new MemoryPackageStore());
    const missed = await rejection(useCase.execute(request).then(({ blob }) => readAll(blob)));
    await readAll((await get(useCase)).blob);
    const cached = await rejection(useCase.execute(request).then(({ blob }) => readAll(blob)));
    for (const error of [missed, cached]) expect(error).to.be.instanceOf(DigestMismatchError);
    expect((await get(useCase)).cache.kind).to.equal('hit');
  }

  describe('when the package cannot be cached', () => {
    it('passes it through a store without room', async () => {
      const store = new MemoryPackageStore(10_000);
      const useCase = over(store);
      for (let times = 1; times <= 2; times++) {
        const { cache, blob } = await get(useCase);
        expect(cache).to.deep.equal({ kind: 'bypass', reason: 'store-too-small' });
        expect(Buffer.compare(await readAll(blob), image.layer.bytes)).to.equal(0);
        sinon.assert.callCount(gateway.fetchBlob, times);
      }
      expect(store.has(image.digest)).to.equal(true);
      sinon.assert.calledOnce(gateway.fetchManifest);
    });

    it('opens a bypassing download after its client is admitted, and no cached package', async () => {
      const bypassing = over(new MemoryPackageStore(10_000));
      const turn = Promise.withResolvers<undefined>();
      const asked: number[] = [];
      const waiting = bypassing.execute(requestOf(image), undefined, (bytes) => {
        asked.push(bytes);
        return turn.promise;
      });
      while (asked.length === 0) await new Promise((resolve) => setImmediate(resolve));
      expect(asked).to.deep.equal([image.layer.descriptor.size]);
      sinon.assert.notCalled(gateway.fetchBlob);
      turn.resolve(undefined);
      expect(Buffer.compare(await readAll((await waiting).blob), image.layer.bytes)).to.equal(0);
      const refused = (): Promise<never> => Promise.reject(new Error('no turn'));
      expect(await rejection(bypassing.execute(requestOf(image), undefined, refused))).to.include({
        message: 'no turn',
      });
      sinon.assert.calledOnce(gateway.fetchBlob);
      const keeping = over(new MemoryPackageStore());
      for (const kind of ['miss', 'hit']) {
        const { cache, blob } = await keeping.execute(requestOf(image), undefined, refused);
        expect(cache.kind).to.equal(kind);
        await readAll(blob);
      }
    });

    it('passes it through a store that fails', async () => {
      const broken = storeWith(new MemoryPackageStore(), {
        open: () => Promise.reject(new StoreFailedError()),
        reserve: () => Promise.reject(new StoreFailedError()),
      });
      const { cache, blob } = await get(over(broken));
      expect(cache).to.deep.equal({ kind: 'bypass', reason: 'store-failed' });
      expect(Buffer.compare(await readAll(blob), image.layer.bytes)).to.equal(0);
    });

    it('never completes wrong bytes of a bypassing download', async () => {
      gateway.fetchBlob.callsFake(() => new HeldSource().give(bytesOf(400_000, 9)).end().source());
      const { blob } = await get(over(new MemoryPackageStore(10_000)));
      expect(await rejection(readAll(blob))).to.be.instanceOf(DigestMismatchError);
    });

    it('ends its source when the client leaves', async () => {
      const held = new HeldSource().give(image.layer.bytes.subarray(0, 100_000));
      gateway.fetchBlob.callsFake(() => held.source());
      const { blob } = await get(over(new MemoryPackageStore(10_000)));
      await readSome(blob, 100);
      const signal = gateway.fetchBlob.firstCall.args[3];
      expect(signal.aborted).to.equal(false);
      await blob.close();
      expect(signal.aborted).to.equal(true);
      held.fail(new Error('aborted'));
    });

    it('ends its source when the process stops', async () => {
      const stopping = new AbortController();
      const platform = { os: 'linux', architecture: 'amd64' };
      const ports = {
        store: new MemoryPackageStore(10_000),
        gateway,
        credentials,
        parallelDownloads: 64,
        stopping: stopping.signal,
      };
      const { blob } = await get(new GetPackage({ ...ports, resolve: new ResolvePackage({ ...ports, platform }) }));
      const signal = gateway.fetchBlob.firstCall.args[3];
      stopping.abort();
      expect(signal.aborted).to.equal(true);
      await blob.close();
    });
  });

  describe('when the disk fails during a download', () => {
    /** Keeps manifests; layers fail after `bytes` bytes, as on a disk that has become full. */
    function failingAfter(bytes: number): PackageStore {
      const store = new MemoryPackageStore();
      return storeWith(store, {
        reserve: async (descriptor) => {
          const reservation = await store.reserve(descriptor);
          return {
            write: (chunks) => reservation.write(descriptor.size < 10_000 ? chunks : cutAfter(chunks, bytes)),
            abort: () => reservation.abort(),
          };
        },
      });
    }

    for (const bytes of [1, 100_000, 250_000, 335_000, 345_000, 390_001]) {
      it(`lets all clients continue with the same download (after ${String(bytes)} bytes)`, async () => {
        const useCase = over(failingAfter(bytes));
        const blobs = await Promise.all(Array.from({ length: 10 }, () => get(useCase)));
        const bodies = await Promise.all(blobs.map(({ blob }) => readAll(blob)));
        for (const body of bodies) expect(Buffer.compare(body, image.layer.bytes)).to.equal(0);
        sinon.assert.calledOnce(gateway.fetchBlob);
        expect(blobs.map(({ cache }) => cache.kind === 'miss' && cache.isStored())).to.not.include(true);
        expect(useCase.slots).to.include({ running: 0, queued: 0 });
      });
    }

    it('does not report a package as stored after a failure, until one is stored', async () => {
      const store = new MemoryPackageStore();
      let isBroken = true;
      const flaky = storeWith(store, {
        reserve: (descriptor) => (isBroken ? failingAfter(1) : store).reserve(descriptor),
      });
      const held = (): HeldSource => new HeldSource().give(image.layer.bytes.subarray(0, 300_000));
      const useCase = over(flaky);
      const says = ({ cache }: Delivery): boolean => cache.kind === 'miss' && cache.isStored();
      const first = await get(useCase);
      expect(says(first)).to.equal(true);
      await readAll(first.blob);
      expect(says(first)).to.equal(false);
      isBroken = false;
      const second = held();
      gateway.fetchBlob.callsFake(() => second.source());
      const arriving = await get(useCase);
      expect(says(arriving)).to.equal(false);
      second.give(image.layer.bytes.subarray(300_000)).end();
      await readAll(arriving.blob);
      expect(says(arriving)).to.equal(true);
    });

    it('lets a client continue that still reads stored bytes', async () => {
      const useCase = over(failingAfter(250_000));
      const [slow, fast] = await Promise.all([get(useCase), get(useCase)]);
      await readSome(slow.blob, 1000);
      expect(Buffer.compare(await readAll(fast.blob), image.layer.bytes)).to.equal(0);
      expect(Buffer.compare(await readAll(slow.blob), image.layer.bytes)).to.equal(0);
    });

    it('ends the download when all clients have left', async () => {
      const held = new HeldSource().give(image.layer.bytes.subarray(0, 300_000));
      gateway.fetchBlob.callsFake(() => held.source());
      const useCase = over(failingAfter(250_000));
      const [one, other] = await Promise.all([get(useCase), get(useCase)]);
      await readSome(one.blob, 260_000);
      await one.blob.close();
      const reading = rejection(other.blob.read(399_999));
      await other.blob.close();
      expect(await reading).to.be.instanceOf(Error);
      expect(gateway.fetchBlob.firstCall.args[3].aborted).to.equal(true);
      held.fail(new Error('aborted'));
    });

    it('continues a cached package, also if the disk returns other bytes than before', async () => {
      const store = new MemoryPackageStore();
      await readAll((await get(over(store))).blob);
      let isBroken = false;
      const failing = storeWith(store, {
        open: async (sought) => {
          const stored = await store.open(sought);
          if (stored === undefined) return undefined;
          const read = async (offset: number): Promise<Uint8Array> => {
            isBroken ||= offset > 200_000;
            if (isBroken && stored.size > 10_000) throw new StoreFailedError();
            return stored.read(offset);
          };
          return { ...stored, read };
        },
      });
      const { cache, blob } = await get(over(failing));
      expect(cache.kind).to.equal('hit');
      expect(Buffer.compare(await readAll(blob), image.layer.bytes)).to.equal(0);
    });

    it('verifies the whole package with the upstream for a client that has read a part', async () => {
      const { blob } = await get(over(failingAfter(250_000)));
      await readSome(blob, 1000);
      expect(await blob.read(blob.size)).to.have.lengthOf(0);
      sinon.assert.calledOnce(gateway.fetchBlob);
      await blob.close();
    });

    it('rejects if the delivered bytes are wrong', async () => {
      gateway.fetchBlob.onFirstCall().callsFake(() => new HeldSource().give(bytesOf(400_000, 9)).end().source());
      const { blob } = await get(over(failingAfter(250_000)));
      expect(await rejection(readAll(blob))).to.be.instanceOf(DigestMismatchError);
    });
  });
});

async function* cutAfter(chunks: AsyncIterable<Uint8Array>, bytes: number): AsyncGenerator<Uint8Array> {
  let seen = 0;
  for await (const chunk of chunks) {
    yield chunk;
    seen += chunk.byteLength;
    if (seen >= bytes) throw new StoreFailedError();
  }
}

describe('a HEAD of GetPackage', () => {
  it('returns the descriptor of a package and the time since which it is cached, and downloads no blob', async () => {
    const image = makePackage(100_000);
    const gateway = stubGateway(image);
    const store = new MemoryPackageStore();
    const stopping = new AbortController().signal;
    const ports = { store, gateway, credentials: stubCredentials(), parallelDownloads: 64, stopping };
    const resolve = new ResolvePackage({ ...ports, platform: { os: 'linux', architecture: 'amd64' } });
    const useCase = new GetPackage({ ...ports, resolve });
    const request = { digest: image.digest, repository: DEFAULT_REPOSITORY, path: undefined };

    const before = await useCase.head(request);
    expect(before).to.deep.equal({
      package: { digest: image.digest, layer: image.layer.descriptor },
      storedAt: undefined,
    });
    sinon.assert.notCalled(gateway.fetchBlob);

    await readAll((await useCase.execute(request)).blob);
    expect((await useCase.head(request)).storedAt).to.be.instanceOf(Date);
  });
});
