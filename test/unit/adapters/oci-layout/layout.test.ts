import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isArchive } from '../../../../src/adapters/oci-layout/layout.ts';

describe('isArchive', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'archive-'));
    await writeFile(join(directory, 'file'), 'content');
  });
  afterEach(() => rm(directory, { recursive: true }));

  for (const [what, flags] of [
    ['a tar', '-cf'],
    ['a compressed tar', '-czf'],
  ] as const) {
    it(`recognizes ${what} by its first bytes`, () => {
      execFileSync('tar', [flags, join(directory, 'archive'), '-C', directory, 'file']);
      expect(isArchive(join(directory, 'archive'))).to.equal(true);
    });
  }

  it('recognizes nothing else, and does not block on a pipe', async () => {
    await writeFile(join(directory, 'empty'), '');
    await symlink('loop', join(directory, 'loop'));
    execFileSync('mkfifo', [join(directory, 'pipe')]);
    for (const name of ['.', 'file', 'empty', 'loop', 'pipe', 'nowhere']) {
      expect(isArchive(join(directory, name)), name).to.equal(false);
    }
  });
});
