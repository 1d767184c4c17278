import { expect } from 'chai';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BlobDirectory } from '../../../../src/adapters/blobs/blob-directory.ts';
import { digestOf } from '../../../../src/domain/descriptor.ts';
import { bytesOf } from '../../../support/image.ts';
import { rejection } from '../../../support/rejection.ts';

describe('BlobDirectory', () => {
  const [bytes, other] = [bytesOf(1000), bytesOf(1000, 2)];
  let root: string;
  let blobs: BlobDirectory;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'blob-directory-'));
    blobs = new BlobDirectory(join(root, 'blobs/sha256'));
    await mkdir(blobs.path, { recursive: true });
  });
  afterEach(() => rm(root, { recursive: true }));

  it('lists regular files with the name of a digest as blobs, and all other entries as foreign', async () => {
    await writeFile(blobs.pathOf(digestOf(bytes)), bytes);
    await mkdir(blobs.pathOf(digestOf(other)));
    await symlink('/etc/hostname', join(blobs.path, 'e'.repeat(64)));
    for (const name of ['README', 'E'.repeat(64), 'a'.repeat(65), 'a'.repeat(63)])
      await writeFile(join(blobs.path, name), '');
    const listed = await blobs.list();
    expect(listed.blobs.map(({ digest, stats }) => [digest, stats.size])).to.deep.equal([[digestOf(bytes), 1000]]);
    expect(listed.strangers).to.have.lengthOf(6);
  });

  it('rejects with the error of a directory that cannot be listed', async () => {
    expect(await rejection(new BlobDirectory(import.meta.filename).list())).to.have.property('code', 'ENOTDIR');
  });

  for (const [what, prepare] of [
    ['its name is free', () => Promise.resolve()],
    ['another file has its name', () => writeFile(blobs.pathOf(digestOf(bytes)), other)],
    ['a directory has its name', () => mkdir(join(blobs.pathOf(digestOf(bytes)), 'deep'), { recursive: true })],
    ['the folder is gone', () => rm(blobs.path, { recursive: true })],
  ] as const) {
    it(`gives a file its name when ${what}`, async () => {
      await prepare();
      await writeFile(join(root, 'part'), bytes);
      blobs.move(join(root, 'part'), digestOf(bytes));
      expect(Buffer.compare(await readFile(blobs.pathOf(digestOf(bytes))), bytes)).to.equal(0);
    });
  }
});
