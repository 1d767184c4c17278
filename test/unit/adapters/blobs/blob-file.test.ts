import { expect } from 'chai';
import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { closeNow, openNew, readSmallBlob } from '../../../../src/adapters/blobs/blob-file.ts';
import { bytesOf } from '../../../support/image.ts';
import { rejection } from '../../../support/rejection.ts';

describe('readSmallBlob', () => {
  it('takes no more memory than the file and a byte, by which a longer file is noticed', async () => {
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
  it('makes a file for this user alone, and takes no file or link that is there', async () => {
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
