import { expect } from 'chai';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sinon from 'sinon';
import { OciLayoutGateway } from '../../../src/adapters/oci-layout/oci-layout-gateway.ts';
import { OciLayoutWriter } from '../../../src/adapters/oci-layout/oci-layout-writer.ts';
import { type MirrorOptions, mirrorPackages, type MirrorProgress } from '../../../src/application/mirror-packages.ts';
import { type Descriptor, type Digest, digestHex } from '../../../src/domain/descriptor.ts';
import {
  DigestMismatchError,
  InvalidContentError,
  PackageUnknownError,
  StoreFailedError,
  UpstreamDeniedError,
  UpstreamThrottledError,
} from '../../../src/domain/errors.ts';
import type { BlobWriter } from '../../../src/domain/ports/image-layout.ts';
import { DEFAULT_REPOSITORY, type PackageRequest, parseRepositoryPath } from '../../../src/domain/reference.ts';
import { bytesOf, encode, makeBlob, makeImage, makeIndex, makePackage, type TestImage } from '../../support/image.ts';
import { type StubbedGateway, stubCredentials, stubGateway } from '../../support/ports.ts';
import { rejection } from '../../support/rejection.ts';
import { chunksOf } from '../../support/source.ts';

const amd64 = { os: 'linux', architecture: 'amd64' };
const arm64 = { os: 'linux', architecture: 'arm64' };
const never = new AbortController().signal;

const request = ({ digest }: { readonly digest: Digest }) => ({
  digest,
  repository: DEFAULT_REPOSITORY,
  path: undefined,
});

describe('mirrorPackages', () => {
  let directory: string;
  let layout: OciLayoutWriter;
  let last: MirrorProgress | undefined;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'mirror-'));
    layout = await OciLayoutWriter.open(directory);
  });
  afterEach(async () => {
    await layout.close(true);
    await rm(directory, { recursive: true });
  });

  const over = (gateway: StubbedGateway, options: Partial<MirrorOptions> = {}) => ({
    execute: (requests: readonly PackageRequest[], interrupted: AbortSignal) =>
      mirrorPackages(requests, {
        gateway,
        credentials: stubCredentials(),
        layout,
        platforms: [amd64],
        concurrency: 3,
        interrupted,
        onProgress: (progress) => {
          last = progress;
        },
        ...options,
      }),
  });
  const listed = () => new OciLayoutGateway(directory).list();
  const expectWhole = async (...images: readonly TestImage[]): Promise<void> => {
    for (const { descriptor, bytes } of images.flatMap(({ manifest, blobs }) => [manifest, ...blobs])) {
      const found = await readFile(join(directory, 'blobs/sha256', digestHex(descriptor.digest)));
      expect(Buffer.compare(found, bytes)).to.equal(0);
    }
  };

  it('copies whole images, which other tools can use, too', async () => {
    const images = [makeImage([bytesOf(10), bytesOf(200_000, 2)]), makePackage(300_000, 3)];
    expect(await over(stubGateway(...images)).execute(images.map(request), never)).to.deep.equal([]);
    await expectWhole(...images);
    expect((await listed()).sort()).to.deep.equal(images.map(({ digest }) => digest).sort());
  });

  it('uses content in descriptors', async () => {
    const { layer } = makePackage(1000);
    const layers = [{ ...layer.descriptor, data: Buffer.from(layer.bytes).toString('base64') }];
    const manifest = makeBlob('application/vnd.oci.image.manifest.v1+json', encode({ schemaVersion: 2, layers }));
    const image = { digest: manifest.descriptor.digest, manifest, blobs: [layer], layer };
    const gateway = stubGateway({ ...image, blobs: [] });
    expect(await over(gateway).execute([request(image)], never)).to.deep.equal([]);
    await expectWhole(image);
    sinon.assert.notCalled(gateway.fetchBlob);
  });

  it('reports its progress, and fetches blobs of several images only once', async () => {
    const shared = bytesOf(200_000);
    const images = [makeImage([shared, bytesOf(10, 2)]), makeImage([shared, bytesOf(20, 3)])];
    const config = images[0]?.blobs[0]?.bytes.byteLength ?? 0;
    const gateway = stubGateway(...images);
    await over(gateway).execute(images.map(request), never);
    const bytes = config + 200_030;
    expect(last).to.deep.equal({
      phase: 'blobs',
      resolved: 2,
      mirrored: 2,
      failed: 0,
      totalBytes: bytes,
      hereBytes: bytes,
      fetchedBytes: bytes,
    });
    sinon.assert.callCount(gateway.fetchBlob, 4);
  });

  it('requests no blob that is here, not even a manifest', async () => {
    const index = makeIndex([{ image: makePackage(100_000), platform: amd64 }]);
    await over(stubGateway(index)).execute([request(index)], never);
    const gateway = stubGateway();
    const credentials = stubCredentials();
    expect(await over(gateway, { credentials }).execute([request(index)], never)).to.deep.equal([]);
    sinon.assert.notCalled(credentials.resolve);
    expect(last).to.include({ fetchedBytes: 0, mirrored: 1 });
  });

  it('copies the image of the configured platform from an index, or all images', async () => {
    const [here, there] = [makePackage(1000), makePackage(2000, 2)];
    const index = makeIndex([
      { image: there, platform: arm64 },
      { image: here, platform: amd64 },
    ]);
    const gateway = stubGateway(index);
    await over(gateway).execute([request(index)], never);
    await expectWhole(here);
    expect(await readdir(join(directory, 'blobs/sha256'))).not.to.include(digestHex(there.digest));
    await over(gateway, { platforms: 'all' }).execute([request(index)], never);
    await expectWhole(here, there);
    expect(await listed()).to.deep.equal([index.digest]);
  });

  it('copies the images of several platforms from an index, and fails if one is missing', async () => {
    const [first, second, other] = [makePackage(1000), makePackage(2000, 2), makePackage(3000, 3)];
    const index = makeIndex([
      { image: first, platform: amd64 },
      { image: other, platform: { os: 'linux', architecture: 's390x' } },
      { image: second, platform: arm64 },
    ]);
    const lacking = makeIndex([
      { image: first, platform: amd64 },
      { image: other, platform: { os: 'linux', architecture: 's390x' } },
    ]);
    const mirror = over(stubGateway(index, lacking), { platforms: [amd64, arm64] });
    const failures = await mirror.execute([index, lacking].map(request), never);
    await expectWhole(first, second);
    expect(await readdir(join(directory, 'blobs/sha256'))).not.to.include(digestHex(other.digest));
    expect(await listed()).to.deep.equal([index.digest]);
    expect(failures).to.have.nested.property('[0].error.message', 'image has no linux/arm64 manifest');
  });

  it('requests images below the repository of a request', async () => {
    const image = makePackage(10);
    const gateway = stubGateway(image);
    const path = parseRepositoryPath('modules/ingress');
    await over(gateway).execute([{ ...request(image), path }], never);
    for (const { args } of [...gateway.fetchManifest.getCalls(), ...gateway.fetchBlob.getCalls()]) {
      expect(args[0]).to.have.property('repository', 'deckhouse/modules/ingress');
    }
  });

  it('skips packages that it cannot get, and reports the causes', async () => {
    const [good, absent, denied, empty] = [makePackage(10), makePackage(20, 2), makePackage(30, 3), makeImage([])];
    const gateway = stubGateway(good, denied, empty);
    const refusal = new UpstreamDeniedError();
    gateway.fetchBlob.withArgs(sinon.match.any, denied.layer.descriptor).rejects(refusal);
    const failures = await over(gateway).execute([absent, denied, empty, good].map(request), never);
    expect(failures.map(({ request: { digest } }) => digest)).to.have.members(
      [absent, denied, empty].map((i) => i.digest),
    );
    const errorOf = ({ digest }: TestImage) => failures.find((failure) => failure.request.digest === digest)?.error;
    expect(errorOf(absent)).to.be.instanceOf(PackageUnknownError);
    expect(errorOf(denied)).to.equal(refusal);
    expect(errorOf(empty)).to.be.instanceOf(InvalidContentError);
    await expectWhole(good);
    expect(await listed()).to.deep.equal([good.digest]);
    expect(last).to.include({ mirrored: 1, failed: 3 });
  });

  it('keeps no manifests and no blobs with a wrong digest', async () => {
    const [forged, spoilt] = [makePackage(100_000), makePackage(200_000, 2)];
    const gateway = stubGateway(forged, spoilt);
    gateway.fetchManifest.withArgs(sinon.match.any, forged.digest).resolves(makePackage(5).manifest.bytes);
    gateway.fetchBlob
      .withArgs(sinon.match.any, spoilt.layer.descriptor)
      .callsFake(async () => chunksOf(bytesOf(200_000, 9)));
    const failures = await over(gateway).execute([forged, spoilt].map(request), never);
    for (const { error } of failures) expect(error).to.be.instanceOf(DigestMismatchError);
    expect(failures).to.have.lengthOf(2);
    const names = await readdir(join(directory, 'blobs/sha256'));
    expect(names).not.to.include(digestHex(forged.digest));
    expect(names).not.to.include(digestHex(spoilt.layer.descriptor.digest));
    expect(await listed()).to.deep.equal([]);
  });

  it('lists no image whose manifest has a wrong size, whether its blob is here or not', async () => {
    const good = makePackage(100_000);
    const { descriptor } = good.layer;
    const lie = makeBlob(
      'application/vnd.oci.image.manifest.v1+json',
      encode({ schemaVersion: 2, layers: [{ ...descriptor, size: 99_999 }] }),
    );
    const gateway = stubGateway(good);
    gateway.fetchManifest.withArgs(sinon.match.any, lie.descriptor.digest).resolves(lie.bytes);
    const failures = await over(gateway, { concurrency: 1 }).execute([good, lie.descriptor].map(request), never);
    expect(failures.map(({ error }) => error)).to.have.lengthOf(1);
    expect(await listed()).to.deep.equal([good.digest]);
  });

  it('requests again a blob that another package could not get', async () => {
    const image = makePackage(100_000);
    const gateway = stubGateway(image);
    gateway.fetchBlob
      .withArgs(sinon.match.any, image.layer.descriptor)
      .onFirstCall()
      .rejects(new UpstreamDeniedError());
    const failures = await over(gateway).execute([request(image), request(image)], never);
    expect(failures).to.have.lengthOf(1);
    await expectWhole(image);
  });

  it('waits for a Retry-After of a registry', async () => {
    const image = makePackage(10);
    const gateway = stubGateway(image);
    gateway.fetchManifest.onFirstCall().rejects(new UpstreamThrottledError(0));
    gateway.fetchBlob.onFirstCall().rejects(new UpstreamThrottledError(0));
    expect(await over(gateway).execute([request(image)], never)).to.deep.equal([]);
  });

  it('begins no further package when the layout fails', async () => {
    const images = [makePackage(10), makePackage(20, 2)];
    const broken = { readManifest: sinon.stub().resolves(undefined), writer: sinon.stub(), list: sinon.stub() };
    const error = new StoreFailedError();
    broken.writer.callsFake(({ size }: Descriptor) => writerOf(size, () => Promise.reject(error)));
    const mirror = over(stubGateway(...images), { layout: broken, concurrency: 1 });
    expect(await rejection(mirror.execute(images.map(request), never))).to.equal(error);
    sinon.assert.calledOnce(broken.writer);
  });

  for (const [what, isThen] of [
    ['in the middle', ({ hereBytes }) => hereBytes > 0],
    ['at the very end', ({ hereBytes, totalBytes }) => hereBytes === totalBytes],
  ] as const satisfies [string, (progress: MirrorProgress) => boolean][]) {
    it(`ends when it is interrupted ${what} of the verification of its blobs, and counts no package then`, async () => {
      const image = makePackage(2_000_000);
      await over(stubGateway(image)).execute([request(image)], never);
      const interruption = new AbortController();
      const reason = new Error('enough');
      const mirror = over(stubGateway(), {
        onProgress: (progress) => {
          last = progress;
          if (progress.phase === 'blobs' && isThen(progress)) interruption.abort(reason);
        },
      });
      expect(await rejection(mirror.execute([request(image)], interruption.signal))).to.equal(reason);
      expect(last).to.include({ mirrored: 0, failed: 0 });
      expect(await listed()).to.deep.equal([image.digest]);
    });
  }

  it('begins no further blob when it is interrupted, and lists no further image', async () => {
    const image = makePackage(10);
    for (const [before, { descriptor }] of image.blobs.entries()) {
      const interruption = new AbortController();
      const stub = {
        readManifest: sinon.stub().resolves(image.manifest.bytes),
        writer: sinon.stub(),
        list: sinon.stub(),
      };
      stub.writer.callsFake(({ digest, size }: Descriptor) =>
        writerOf(size, async () => {
          if (digest === descriptor.digest) interruption.abort();
        }),
      );
      const mirror = over(stubGateway(), { layout: stub });
      const error = await rejection(mirror.execute([request(image)], interruption.signal));
      expect(error).to.equal(interruption.signal.reason);
      sinon.assert.callCount(stub.writer, before + 1);
      sinon.assert.notCalled(stub.list);
    }
  });

  it('ends when it is interrupted, and resumes the next time', async () => {
    const image = makePackage(300_000);
    const interruption = new AbortController();
    const reason = new Error('enough');
    const gateway = stubGateway(image);
    gateway.fetchBlob.withArgs(sinon.match.any, image.layer.descriptor).callsFake(async () =>
      (async function* () {
        yield image.layer.bytes.subarray(0, 200_000);
        interruption.abort(reason);
        throw reason;
      })(),
    );
    expect(await rejection(over(gateway).execute([request(image)], interruption.signal))).to.equal(reason);
    expect(await listed()).to.deep.equal([]);
    const again = stubGateway(image);
    await over(again).execute([request(image)], never);
    expect(again.fetchBlob.getCalls().map(({ args }) => args[2])).to.deep.equal([200_000]);
    await expectWhole(image);
  });
});

/** A writer of a blob of which all bytes are here. */
function writerOf(size: number, commit: () => Promise<void>): BlobWriter {
  return {
    offset: size,
    resume: async function* () {
      yield size;
    },
    write: () => Promise.reject(new Error('nothing is missing')),
    commit,
    close: () => undefined,
  };
}
