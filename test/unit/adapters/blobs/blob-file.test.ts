import { expect } from 'chai';
import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { closeNow, makeDirectories, openNew, readSmallBlob } from '../../../../src/adapters/blobs/blob-file.ts';
import { bytesOf } from '../../../support/image.ts';
import { rejection } from '../../../support/rejection.ts';

describe('readSmallBlob', () => {
  it('allocates the size of the file and one byte, which shows that a file is longer', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'blob-file-'));
    const path = join(directory, 'blob');
    writeFileSync(path, bytesOf(1000));
    const exact = await readSmallBlob(path, 1000);
    expect(exact).to.deep.equal(bytesOf(1000));
    expect(exact.buffer.byteLength).to.equal(1001);
    expect(await readSmallBlob(path, 999)).to.have.lengthOf(1000);
    expect(await readSmallBlob(path, 1001)).to.have.lengthOf(1000);
    rmSync(directory, { recursive: true });
  });
});

describe('openNew', () => {
  it('creates a file that only this user can read, and refuses an existing file or link', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'blob-file-'));
    const path = (name: string): string => join(directory, name);
    closeNow(await openNew(path('new')));
    expect(statSync(path('new')).mode & 0o777).to.equal(0o600);
    writeFileSync(path('target'), 'kept');
    symlinkSync(path('target'), path('link'));
    for (const name of ['new', 'link']) {
      expect(await rejection(openNew(path(name)))).to.have.property('code', 'EEXIST');
    }
    expect(readFileSync(path('target'), 'utf8')).to.equal('kept');
    rmSync(directory, { recursive: true });
  });
});

describe('makeDirectories', () => {
  it('creates missing directories with the mode, and accepts existing ones', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'blob-file-'));
    const path = join(directory, 'a/b/c');
    for (let times = 0; times < 2; times++) await makeDirectories(path, 0o700);
    expect(statSync(path).mode & 0o777).to.equal(0o700);
    expect(statSync(join(directory, 'a')).mode & 0o777).to.equal(0o700);
    rmSync(directory, { recursive: true });
  });

  it('rejects if a file is in the path, and if a directory cannot be written', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'blob-file-'));
    writeFileSync(join(directory, 'file'), '');
    expect(await rejection(makeDirectories(join(directory, 'file/a/b')))).to.have.property('code', 'ENOTDIR');
    expect(await rejection(makeDirectories('/proc/a/b'))).to.have.property('code', 'ENOENT');
    rmSync(directory, { recursive: true });
  });
});
