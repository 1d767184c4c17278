import { expect } from 'chai';
import sinon from 'sinon';
import { GetLayerFile, type GetLayerFileOptions } from '../../../src/application/get-layer-file.ts';
import { GetPackage } from '../../../src/application/get-package.ts';
import { ResolvePackage } from '../../../src/application/resolve-package.ts';
import { DigestMismatchError, InvalidContentError, PackageUnknownError } from '../../../src/domain/errors.ts';
import { DEFAULT_REPOSITORY, type PackageRequest } from '../../../src/domain/reference.ts';
import type { LayerEntry, LayerFiles } from '../../../src/domain/ports/layer-files.ts';
import type { BlobReader } from '../../../src/domain/ports/package-store.ts';
import { bytesOf, makeImage, type TestImage } from '../../support/image.ts';
import { MemoryPackageStore } from '../../support/memory-package-store.ts';
import { type StubbedGateway, stubCredentials, stubGateway } from '../../support/ports.ts';
import { rejection } from '../../support/rejection.ts';

const BINARY = bytesOf(150_000, 7);
const LIMITS = { maxFileBytes: 200_000, maxUnpackedBytes: 1_000_000, timeoutMs: 60_000 };

/** A simple archive format for the test: `name length` lines, followed by the bytes. */
function archiveOf(files: Record<string, Uint8Array>): Uint8Array {
  const head = Object.entries(files).map(([name, { byteLength }]) => `${name} ${String(byteLength)}\n`);
  return Buffer.concat([Buffer.from(`${head.join('')}\n`), ...Object.values(files)]);
}

const listArchive: LayerFiles['list'] = async function* (layer) {
  const chunks: Uint8Array[] = [];
  for await (const chunk of layer) chunks.push(Uint8Array.from(chunk));
  const archive = Buffer.concat(chunks);
  const headEnd = archive.indexOf('\n\n');
  if (headEnd < 0) throw new InvalidContentError('layer is not an archive');
  let at = headEnd + 2;
  for (const line of archive.subarray(0, headEnd).toString().split('\n')) {
    const [path = '', size = ''] = line.split(' ');
    const bytes = archive.subarray(at, (at += Number(size)));
    yield { kind: 'file', path, size: Number(size), bytes: chunked(bytes) } satisfies LayerEntry;
  }
};

async function* chunked(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += 40_000) yield bytes.subarray(at, at + 40_000);
}

interface Bench {
  readonly files: GetLayerFile;
  readonly list: sinon.SinonSpy<Parameters<LayerFiles['list']>, ReturnType<LayerFiles['list']>>;
  readonly gateway: StubbedGateway;
  readonly store: MemoryPackageStore;
}

function bench(
  image: TestImage,
  { maxBytes, ...options }: Partial<GetLayerFileOptions> & { maxBytes?: number } = {},
): Bench {
  const store = new MemoryPackageStore(maxBytes);
  const gateway = stubGateway(image);
  const stopping = new AbortController().signal;
  const ports = { store, gateway, credentials: stubCredentials(), stopping };
  const resolve = new ResolvePackage({ ...ports, platform: { os: 'linux', architecture: 'amd64' } });
  const packages = new GetPackage({ ...ports, resolve, parallelDownloads: 4 });
  const list = sinon.spy(listArchive);
  const files = new GetLayerFile({ resolve, packages, store, files: { list }, limits: LIMITS, stopping, ...options });
  return { files, list, gateway, store };
}

function requestOf({ digest }: TestImage): PackageRequest {
  return { digest, repository: DEFAULT_REPOSITORY, path: undefined };
}

async function contentOf(blob: BlobReader): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for (let at = 0; at < blob.size;) {
    const bytes = Uint8Array.from(await blob.read(at));
    chunks.push(bytes);
    at += bytes.byteLength;
  }
  await blob.close();
  return Buffer.concat(chunks);
}

describe('GetLayerFile', () => {
  const image = makeImage([archiveOf({ 'opt/README': bytesOf(10), 'opt/bin/rpp-get': BINARY, 'rpp-get': bytesOf(5) })]);

  it('delivers the first file with the base name, and caches it', async () => {
    const { files, list, store } = bench(image);
    const { file, blob, storedAt } = await files.execute(requestOf(image), 'rpp-get');
    expect(file.size).to.equal(BINARY.byteLength);
    expect((await contentOf(blob)).equals(BINARY)).to.equal(true);
    expect(storedAt).to.be.instanceOf(Date);
    expect(store.has(file.digest)).to.equal(true);
    const extractions = list.callCount;
    const again = await files.execute(requestOf(image), 'rpp-get');
    expect((await contentOf(again.blob)).equals(BINARY)).to.equal(true);
    expect(list.callCount).to.equal(extractions);
  });

  it('downloads and extracts once for a hundred clients at a time', async () => {
    const { files, list, gateway } = bench(image);
    const deliveries = Array.from({ length: 100 }, () => files.execute(requestOf(image), 'rpp-get'));
    for (const { blob } of await Promise.all(deliveries)) {
      expect((await contentOf(blob)).equals(BINARY)).to.equal(true);
    }
    expect(gateway.fetchBlob.callCount).to.equal(1);
    // Once for the digest of the file, and once for the store.
    expect(list.callCount).to.equal(2);
  });

  it('extracts again when the file has been evicted', async () => {
    const { files, list, store } = bench(image);
    const { file, blob } = await files.execute(requestOf(image), 'rpp-get');
    await blob.close();
    const extractions = list.callCount;
    const open = sinon.stub(store, 'open').callThrough();
    open
      .withArgs(sinon.match({ digest: file.digest }))
      .onFirstCall()
      .resolves(undefined)
      .callThrough();
    expect((await contentOf((await files.execute(requestOf(image), 'rpp-get')).blob)).equals(BINARY)).to.equal(true);
    expect(list.callCount).to.be.greaterThan(extractions);
  });

  it('delivers a file without room in the store', async () => {
    const { files } = bench(image, { maxBytes: 1000 });
    const { blob, storedAt } = await files.execute(requestOf(image), 'rpp-get');
    expect((await contentOf(blob)).equals(BINARY)).to.equal(true);
    expect(storedAt).to.equal(undefined);
  });

  it('delivers no byte of a layer with a wrong digest', async () => {
    const { files, gateway } = bench(image);
    const forged = Uint8Array.from(image.layer.bytes);
    forged[forged.byteLength - 1] = (forged.at(-1) ?? 0) ^ 1;
    gateway.fetchBlob.callsFake(async () => chunked(forged));
    expect(await rejection(files.execute(requestOf(image), 'rpp-get'))).to.be.instanceOf(DigestMismatchError);
    gateway.fetchBlob.callsFake(async () => chunked(image.layer.bytes));
    expect((await contentOf((await files.execute(requestOf(image), 'rpp-get')).blob)).equals(BINARY)).to.equal(true);
  });

  it('does not remember a forged layer that is not an archive', async () => {
    const { files, gateway } = bench(image);
    gateway.fetchBlob.callsFake(async () => chunked(new Uint8Array(image.layer.bytes.byteLength)));
    expect(await rejection(files.execute(requestOf(image), 'rpp-get'))).to.be.instanceOf(DigestMismatchError);
    gateway.fetchBlob.callsFake(async () => chunked(image.layer.bytes));
    expect((await contentOf((await files.execute(requestOf(image), 'rpp-get')).blob)).equals(BINARY)).to.equal(true);
  });

  const unusable: readonly [what: string, layer: Uint8Array, says: string][] = [
    [
      'holds no such file',
      archiveOf({ 'opt/rpp-get.sha256': bytesOf(64), 'not-rpp-get': bytesOf(5) }),
      'no file "rpp-get"',
    ],
    ['holds a larger one than the limit', archiveOf({ 'rpp-get': bytesOf(200_001) }), 'more than 200000 bytes'],
    ['is no archive', bytesOf(100).fill(1), 'not an archive'],
  ];
  for (const [what, layer, says] of unusable) {
    it(`refuses a package that ${what}, and looks for the file once`, async () => {
      const broken = makeImage([layer]);
      const { files, list } = bench(broken);
      for (let time = 0; time < 3; time++) {
        const error = await rejection(files.execute(requestOf(broken), 'rpp-get'));
        expect(error).to.be.instanceOf(InvalidContentError);
        expect(error.message).to.include(says);
      }
      expect(list.callCount).to.equal(1);
    });
  }

  it('requests an image again that the registry did not have', async () => {
    const { files, gateway } = bench(image);
    gateway.fetchManifest.onFirstCall().rejects(new PackageUnknownError('MANIFEST_UNKNOWN'));
    expect(await rejection(files.execute(requestOf(image), 'rpp-get'))).to.be.instanceOf(PackageUnknownError);
    expect((await files.execute(requestOf(image), 'rpp-get')).file.size).to.equal(BINARY.byteLength);
  });

  it('runs two extractions at a time', async () => {
    const images = [1, 2, 3].map((seed) => makeImage([archiveOf({ 'rpp-get': bytesOf(1000, seed) })]));
    const [first] = images;
    if (first === undefined) throw new Error('there are three');
    let running = 0;
    let most = 0;
    const { files, gateway } = bench(first, {
      files: {
        async *list(layer, limits) {
          most = Math.max(most, ++running);
          try {
            // Until the other extractions have had their turns.
            for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
            yield* listArchive(layer, limits);
          } finally {
            running--;
          }
        },
      },
    });
    const others = stubGateway(...images);
    gateway.fetchManifest.callsFake((...question) => others.fetchManifest(...question));
    gateway.fetchBlob.callsFake((...question) => others.fetchBlob(...question));
    await Promise.all(images.map((each) => files.execute(requestOf(each), 'rpp-get')));
    expect(most).to.equal(2);
  });
});
