import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BlobDirectory, type BlobFile } from '../../../../src/adapters/blobs/blob-directory.ts';
import { checkBlob } from '../../../../src/adapters/blobs/verification.ts';
import { digestHex, digestOf } from '../../../../src/domain/descriptor.ts';
import { bytesOf, makeBlob } from '../../../support/image.ts';
import { rejection } from '../../../support/rejection.ts';

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
