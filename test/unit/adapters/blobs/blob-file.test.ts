import { expect } from 'chai';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readSmallBlob } from '../../../../src/adapters/blobs/blob-file.ts';
import { bytesOf } from '../../../support/image.ts';

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
