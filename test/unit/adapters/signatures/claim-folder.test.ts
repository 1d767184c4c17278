import { expect } from 'chai';
import { mkdtemp, readdir, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClaimFolder } from '../../../../src/adapters/signatures/claim-folder.ts';
import { digestHex } from '../../../../src/domain/descriptor.ts';
import { makePackage } from '../../../support/image.ts';

const { digest } = makePackage(1);
const SIMPLE = { kind: 'simple-signing', payload: Buffer.from('payload'), signature: 'c2ln' } as const;
const BUNDLE = { kind: 'bundle', bundle: Buffer.from('{}') } as const;

describe('ClaimFolder', () => {
  let home: string;
  let directory: string;
  beforeEach(async () => {
    home = await mkdtemp(join(tmpdir(), 'claims-'));
    directory = join(home, 'claims');
  });
  afterEach(() => rm(home, { recursive: true }));

  it('stores a claim of each kind in a file that only the service can read', async () => {
    const folder = new ClaimFolder(directory);
    expect(await folder.read(digest)).to.equal(undefined);
    for (const claim of [SIMPLE, BUNDLE]) {
      await folder.write(digest, claim);
      expect(await new ClaimFolder(directory).read(digest)).to.deep.equal(claim);
    }
    expect((await stat(join(directory, digestHex(digest)))).mode & 0o077).to.equal(0);
    expect((await stat(directory)).mode & 0o077).to.equal(0);
  });

  it('ignores a file that is damaged or too large', async () => {
    const folder = new ClaimFolder(directory);
    await folder.write(digest, SIMPLE);
    const path = join(directory, digestHex(digest));
    for (const text of ['', '{', '{}', '{"payload":1}', '[]']) {
      await writeFile(path, text);
      expect(await folder.read(digest), text).to.equal(undefined);
    }
    await truncate(path, 1 << 30);
    expect(await folder.read(digest)).to.equal(undefined);
  });

  it('works without claims if it cannot write', async () => {
    await writeFile(directory, 'a file');
    const folder = new ClaimFolder(directory);
    await folder.write(digest, SIMPLE);
    expect(await folder.read(digest)).to.equal(undefined);
  });

  it('holds at most 2000 claims, and drops the oldest', async () => {
    const folder = new ClaimFolder(directory);
    await folder.write(digest, SIMPLE);
    const oldest = join(directory, digestHex(digest));
    await utimes(oldest, 1, 1);
    for (let at = 0; at < 2000; at++) await writeFile(join(directory, String(at)), '{}');
    const next = makePackage(2, 2).digest;
    await new ClaimFolder(directory).write(next, SIMPLE);
    const names = await readdir(directory);
    expect(names).to.have.lengthOf.below(2000);
    expect(names).to.include(digestHex(next)).and.not.include(digestHex(digest));
  });
});
