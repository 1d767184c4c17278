import { expect } from 'chai';
import { allManifests, platformManifest } from '../../../src/application/manifests.ts';
import type { Digest } from '../../../src/domain/descriptor.ts';
import { InvalidContentError } from '../../../src/domain/errors.ts';
import { type Index, type Manifest, parseManifest } from '../../../src/domain/manifest.ts';
import { encode, makeBlob, makePackage, type TestBlob } from '../../support/image.ts';
import { rejection } from '../../support/rejection.ts';

const INDEX = 'application/vnd.oci.image.index.v1+json';
const amd64 = { os: 'linux', architecture: 'amd64' };
const arm64 = { os: 'linux', architecture: 'arm64' };

describe('platformManifest', () => {
  const documents = new Map<Digest, TestBlob>();
  const asked: Digest[] = [];
  afterEach(() => {
    documents.clear();
    asked.length = 0;
  });

  function publish(blob: TestBlob): TestBlob {
    documents.set(blob.descriptor.digest, blob);
    return blob;
  }
  const image = (seed: number): TestBlob => publish(makePackage(10, seed).manifest);
  const index = (...entries: readonly (readonly [TestBlob, object?])[]): TestBlob => {
    const manifests = entries.map(([{ descriptor }, platform]) => ({ ...descriptor, platform }));
    return publish(makeBlob(INDEX, encode({ schemaVersion: 2, mediaType: INDEX, manifests })));
  };
  const find = async (digest: Digest): Promise<Manifest | Index> => {
    asked.push(digest);
    const { bytes } = documents.get(digest) ?? { bytes: new Uint8Array() };
    return parseManifest(bytes);
  };
  const parsed = ({ bytes }: TestBlob): Index => parseManifest(bytes) as Index;
  const search = (outer: TestBlob, platform = amd64) => platformManifest<never>(parsed(outer), platform, find);

  it('follows an index within an index, with a platform and without', async () => {
    const inner = index([image(1), amd64], [image(2), arm64]);
    for (const outer of [index([inner]), index([inner, amd64]), index([index([index([inner])])])]) {
      expect(await search(outer)).to.deep.equal(parseManifest(image(1).bytes));
    }
  });

  it('searches the next index if one does not have such an image', async () => {
    const outer = index([index([image(1), arm64])], [index([image(2), amd64])]);
    expect(await search(outer)).to.deep.equal(parseManifest(image(2).bytes));
  });

  it('reports the missing platform, also for nested indexes', async () => {
    const outer = index([index([image(1), arm64])], [index([image(2), arm64])]);
    const error = await rejection(search(outer));
    expect(error)
      .to.be.instanceOf(InvalidContentError)
      .and.have.property('message', 'image has no linux/amd64 manifest');
  });

  it('follows at most four nested indexes', async () => {
    let nested = index([image(1), amd64]);
    for (let depth = 0; depth < 4; depth++) nested = index([nested]);
    expect(await rejection(search(nested))).to.be.instanceOf(InvalidContentError);
    expect(asked).to.have.lengthOf(4);
    expect(await rejection(allManifests(parsed(nested), find))).to.be.instanceOf(InvalidContentError);
  });

  it('reads at most 16 documents for one image', async () => {
    const inner = Array.from({ length: 50 }, (_, seed) => index([image(seed), arm64]));
    const outer = index(...inner.map((one) => [one] as const));
    expect(await rejection(search(outer))).to.be.instanceOf(InvalidContentError);
    expect(asked).to.have.lengthOf(16);
  });

  it('returns undefined if one of the documents is missing', async () => {
    const outer = parsed(index([index([image(1), amd64])]));
    expect(await platformManifest(outer, amd64, async () => undefined)).to.equal(undefined);
  });
});

describe('allManifests', () => {
  it('reads every image once, through indexes within the index', async () => {
    const [first, second] = [makePackage(10, 1).manifest, makePackage(10, 2).manifest];
    const inner = makeBlob(INDEX, encode({ manifests: [second.descriptor, first.descriptor] }));
    const outer = parseManifest(encode({ manifests: [first.descriptor, inner.descriptor] })) as Index;
    const blobs = new Map([first, second, inner].map((blob) => [blob.descriptor.digest, blob]));
    const asked: Digest[] = [];
    const found = await allManifests(outer, async (digest) => {
      asked.push(digest);
      return parseManifest(blobs.get(digest)?.bytes ?? new Uint8Array());
    });
    expect(found).to.deep.equal([first, second].map(({ bytes }) => parseManifest(bytes)));
    expect(asked).to.deep.equal([first, inner, second].map(({ descriptor }) => descriptor.digest));
  });
});
