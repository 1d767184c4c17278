import { expect } from 'chai';
import { mkdir, mkdtemp, readdir, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BlobDirectory, type BlobFile, checkBlob } from '../../../../src/adapters/blobs/blob-directory.ts';
import { digestHex, digestOf } from '../../../../src/domain/descriptor.ts';
import { bytesOf, makeBlob } from '../../../support/image.ts';
import { rejection } from '../../../support/rejection.ts';
import { execFileSync } from 'node:child_process';

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

describe('checkBlob', () => {
  const { descriptor, bytes } = makeBlob('', bytesOf(2_500_000));
  let directory: string;
  let path: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'blobs-'));
    path = join(directory, digestHex(descriptor.digest));
    await writeFile(path, bytes);
  });
  afterEach(() => rm(directory, { recursive: true }));

  const listed = async (): Promise<BlobFile> => {
    const [blob] = (await new BlobDirectory(directory).list()).blobs;
    if (blob === undefined) throw new Error('not listed');
    return blob;
  };
  const ignore = (): void => undefined;

  it('reports its progress', async () => {
    const pieces: number[] = [];
    expect(await checkBlob(await listed(), (piece) => pieces.push(piece))).to.deep.equal({ kind: 'sound' });
    expect(pieces.reduce((sum, piece) => sum + piece)).to.equal(2_500_000);
    expect(pieces.length).to.be.greaterThan(2);
  });

  it('reports a blob that was removed after the listing as missing, and verifies a file that replaced it', async () => {
    const blob = await listed();
    await rm(path);
    expect(await checkBlob(blob, ignore)).to.deep.equal({ kind: 'gone' });
    await writeFile(path, bytes);
    expect(await checkBlob(blob, ignore)).to.deep.equal({ kind: 'sound' });
  });

  const replacements: [what: string, replace: () => Promise<unknown>, verdict: object][] = [
    ['a link', () => symlink('/etc/hostname', path), { kind: 'unreadable', why: 'ELOOP' }],
    ['a directory', () => mkdir(path), { kind: 'unreadable', why: 'EFTYPE' }],
    ['a pipe', async () => execFileSync('mkfifo', [path]), { kind: 'unreadable', why: 'EFTYPE' }],
    [
      'other bytes',
      () => writeFile(path, 'other'),
      { kind: 'damaged', why: `holds ${digestOf(Buffer.from('other'))}` },
    ],
  ];
  for (const [what, replace, verdict] of replacements) {
    it(`reads no blob from ${what} that has come in its place`, async () => {
      const blob = await listed();
      await rm(path);
      await replace();
      expect(await checkBlob(blob, ignore)).to.deep.equal(verdict);
    });
  }

  it('stops in the middle of a blob when it is aborted, and closes the file', async () => {
    const interruption = new AbortController();
    const blob = await listed();
    const check = checkBlob(blob, () => {
      interruption.abort();
      interruption.signal.throwIfAborted();
    });
    expect(await rejection(check)).to.equal(interruption.signal.reason);
    const open = await Promise.all(
      (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
    );
    expect(open.filter((target) => target.startsWith(directory))).to.deep.equal([]);
  });
});
