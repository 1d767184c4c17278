import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { lstat, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { OciLayoutGateway } from '../../../../src/adapters/oci-layout/oci-layout-gateway.ts';
import { OciLayoutWriter } from '../../../../src/adapters/oci-layout/oci-layout-writer.ts';
import { writeBlob } from '../../../../src/application/write-blob.ts';
import { digestHex } from '../../../../src/domain/descriptor.ts';
import { StoreFailedError, UpstreamUnavailableError } from '../../../../src/domain/errors.ts';
import { makePackage, type TestBlob } from '../../../support/image.ts';
import { rejection } from '../../../support/rejection.ts';
import { chunksOf } from '../../../support/source.ts';

const never = new AbortController().signal;
const [first, second] = [makePackage(100_000), makePackage(200_000, 2)];

describe('OciLayoutWriter', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'oci-layout-'));
  });
  afterEach(() => rm(directory, { recursive: true }));

  const into = async (work: (writer: OciLayoutWriter) => Promise<unknown>, isComplete = true): Promise<void> => {
    const writer = await OciLayoutWriter.open(directory);
    await work(writer).finally(() => writer.close(isComplete));
  };
  const keep = (writer: OciLayoutWriter, { descriptor, bytes }: TestBlob) =>
    writeBlob(writer, descriptor, async (offset) => chunksOf(bytes.subarray(offset)), never);
  const index = async () =>
    JSON.parse(await readFile(join(directory, 'index.json'), 'utf8')) as { manifests: unknown[] };

  it('creates a missing directory with only the files of a layout', async () => {
    directory = join(directory, 'deep', 'mirror');
    await into((writer) => keep(writer, first.layer));
    expect((await readdir(directory)).sort()).to.deep.equal(['blobs', 'index.json', 'oci-layout']);
    expect(await readdir(join(directory, 'blobs/sha256'))).to.deep.equal([digestHex(first.layer.descriptor.digest)]);
    await new OciLayoutGateway(directory).check();
    directory = join(directory, '../..');
  });

  it('accepts directories that a file system creates, such as lost+found', async () => {
    await mkdir(join(directory, 'lost+found'));
    await into((writer) => keep(writer, first.layer));
  });

  it('adds each image once to the listed ones, and keeps unknown fields', async () => {
    const other = { ...second.manifest.descriptor, annotations: { 'org.opencontainers.image.ref.name': 'jq:1.7' } };
    await into((writer) => writer.list(first.manifest.descriptor));
    await writeFile(
      join(directory, 'index.json'),
      JSON.stringify({ ...(await index()), manifests: [other], annotations: { made: 'by hand' } }),
    );
    await into(async (writer) => {
      await Promise.all([first, second, first].map(({ manifest }) => writer.list(manifest.descriptor)));
    });
    expect(await index()).to.deep.equal({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.index.v1+json',
      manifests: [other, first.manifest.descriptor],
      annotations: { made: 'by hand' },
    });
  });

  it('adds images to a list that other tools left empty or odd', async () => {
    await into(async () => undefined);
    for (const manifests of [null, [null, 'text', { digest: 'sha512:aa' }]]) {
      await writeFile(join(directory, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }));
      await into((writer) => writer.list(first.manifest.descriptor));
      expect((await index()).manifests).to.deep.equal([...(manifests ?? []), first.manifest.descriptor]);
    }
  });

  it('keeps incomplete blobs for the next run, unless no package needs them any more', async () => {
    const begin = (writer: OciLayoutWriter) =>
      rejection(
        writeBlob(writer, first.layer.descriptor, async () => failAfter(first.layer.bytes.subarray(0, 1000)), never),
      );
    await into(begin, false);
    expect(await readdir(join(directory, 'ingest'))).to.have.lengthOf(1);
    await into(async () => undefined, true);
    expect(await readdir(directory)).not.to.include('ingest');
  });

  it('starts a blob again if the incomplete file is longer than the blob', async () => {
    await into(async (writer) => {
      const part = join(directory, 'ingest', digestHex(first.layer.descriptor.digest));
      await writeFile(part, Buffer.concat([first.layer.bytes, first.layer.bytes]));
      await keep(writer, first.layer);
    });
    const { digest } = first.layer.descriptor;
    const kept = await readFile(join(directory, 'blobs/sha256', digestHex(digest)));
    expect(Buffer.compare(kept, first.layer.bytes)).to.equal(0);
  });

  for (const name of ['index.json', 'blobs']) {
    it(`does not change a directory that is not a layout but has a file ${name}`, async () => {
      await writeFile(join(directory, name), 'mine');
      expect(await rejection(OciLayoutWriter.open(directory))).to.be.instanceOf(StoreFailedError);
      expect(await readdir(directory)).to.deep.equal([name]);
      expect(await readFile(join(directory, name), 'utf8')).to.equal('mine');
    });
  }

  it('does not change a layout of another version', async () => {
    await writeFile(join(directory, 'oci-layout'), '{"imageLayoutVersion":"2.0.0"}');
    expect(await rejection(OciLayoutWriter.open(directory))).to.be.instanceOf(UpstreamUnavailableError);
  });

  it('continues a layout that was killed when it had only the file oci-layout', async () => {
    await writeFile(join(directory, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
    await into((writer) => writer.list(first.manifest.descriptor));
    expect((await index()).manifests).to.have.lengthOf(1);
  });

  it('does not write through links, and replaces links by blobs', async () => {
    const outside = join(directory, 'outside');
    await writeFile(outside, first.layer.bytes);
    const name = digestHex(first.layer.descriptor.digest);
    await into(async (writer) => {
      await symlink(outside, join(directory, 'blobs/sha256', name));
      await keep(writer, first.layer);
      expect((await lstat(join(directory, 'blobs/sha256', name))).isFile()).to.equal(true);
      await symlink(outside, join(directory, 'ingest', digestHex(second.layer.descriptor.digest)));
      expect(await rejection(keep(writer, second.layer))).to.be.instanceOf(StoreFailedError);
    });
    expect(Buffer.compare(await readFile(outside), first.layer.bytes)).to.equal(0);
  });

  it('does not block on a pipe in the place of a blob or of an incomplete blob', async () => {
    await into(async (writer) => {
      const [place, part] = [first, second].map(({ layer }) => digestHex(layer.descriptor.digest)) as [string, string];
      execFileSync('mkfifo', [join(directory, 'blobs/sha256', place), join(directory, 'ingest', part)]);
      await keep(writer, first.layer);
      expect((await lstat(join(directory, 'blobs/sha256', place))).isFile()).to.equal(true);
      const error = await rejection(keep(writer, second.layer));
      expect(error).to.be.instanceOf(StoreFailedError).with.nested.property('cause.code', 'EFTYPE');
    });
  });

  it('does not write index.json through a link, and replaces a file that a kill has left', async () => {
    const outside = join(directory, 'outside');
    await writeFile(outside, 'mine');
    for (const name of ['oci-layout', 'index.json']) await symlink(outside, join(directory, `${name}.new`));
    await into(async (writer) => {
      await writeFile(join(directory, 'index.json.new'), 'half of');
      await writer.list(first.manifest.descriptor);
    });
    expect(await readFile(outside, 'utf8')).to.equal('mine');
    expect((await index()).manifests).to.deep.equal([first.manifest.descriptor]);
    for (const name of ['oci-layout', 'index.json']) {
      expect((await lstat(join(directory, name))).isFile(), name).to.equal(true);
    }
  });

  it('reports a failure of the disk as such', async () => {
    await into(async (writer) => {
      await rm(join(directory, 'ingest'), { recursive: true });
      expect(await rejection(keep(writer, first.layer))).to.be.instanceOf(StoreFailedError);
    });
  });
});

async function* failAfter(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
  throw new UpstreamUnavailableError();
}
