import { expect } from 'chai';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { makeMirror } from '../../../examples/make-mirror.ts';

const MIRROR = join(import.meta.dirname, '../../../examples/mirror');

describe('examples/mirror', () => {
  const made = makeMirror();

  it('is the output of make-mirror.ts', () => {
    const present = readdirSync(MIRROR, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => join(parentPath, name).slice(MIRROR.length + 1));
    expect(present.sort()).to.deep.equal([...made.keys()].sort());
    for (const [path, bytes] of made) expect(bytes.equals(readFileSync(join(MIRROR, path))), path).to.equal(true);
  });

  it('names every blob by its digest', () => {
    for (const [path, bytes] of made) {
      if (!path.startsWith('blobs/')) continue;
      expect(createHash('sha256').update(bytes).digest('hex')).to.equal(basename(path));
    }
  });

  it('holds archives that gzip can read', () => {
    const archives = [...made.values()].filter((bytes) => bytes[0] === 0x1f && bytes[1] === 0x8b);
    expect(archives).to.have.lengthOf(3);
    for (const archive of archives) expect(gunzipSync(archive).toString('latin1')).to.include('#!/bin/sh');
  });
});
