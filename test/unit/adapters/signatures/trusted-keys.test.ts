import { expect } from 'chai';
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TrustedFiles, TrustedKeys } from '../../../../src/adapters/signatures/trusted-keys.ts';
import { certify, makeKeyPair } from '../../../support/signing.ts';

const [one, two] = [makeKeyPair(), makeKeyPair('ed25519')];
const root = certify({ name: 'root', isCa: true });

describe('TrustedKeys', () => {
  let directory: string;
  let path: string;
  let now: number;
  let unusable: Error[];
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'trusted-'));
    path = join(directory, 'keys.pem');
    now = 0;
    unusable = [];
    await writeFile(path, one.pem);
  });
  afterEach(() => rm(directory, { recursive: true }));

  const open = (files: Partial<TrustedFiles> = { keys: path }): TrustedKeys =>
    new TrustedKeys({
      files: { keys: '', roots: '', ...files },
      onUnusable: (error) => unusable.push(error),
      now: () => now,
    });
  const fingerprints = async (keys: TrustedKeys): Promise<string[]> =>
    (await keys.current()).keys.map(({ fingerprint }) => fingerprint);

  it('reads all keys and roots of its files', async () => {
    await writeFile(path, `a comment\n${one.pem}${two.pem}`);
    await writeFile(join(directory, 'roots.pem'), root.pem);
    const { keys, roots } = await open({ keys: path, roots: join(directory, 'roots.pem') }).current();
    expect(keys.map(({ fingerprint }) => fingerprint)).to.deep.equal([one.fingerprint, two.fingerprint]);
    expect(roots.map(({ subject }) => subject)).to.deep.equal(['CN=root']);
  });

  it('reads a file again when it changes, also through a link, at most once a second', async () => {
    const target = join(directory, 'first');
    await mkdir(target);
    await writeFile(join(target, 'keys.pem'), one.pem);
    await symlink(target, join(directory, 'data'));
    const keys = open({ keys: join(directory, 'data/keys.pem') });
    const { id } = await keys.current();
    await mkdir(join(directory, 'second'));
    await writeFile(join(directory, 'second/keys.pem'), two.pem);
    await symlink(join(directory, 'second'), join(directory, 'data.new'));
    await rename(join(directory, 'data.new'), join(directory, 'data'));
    now = 999;
    expect(await fingerprints(keys)).to.deep.equal([one.fingerprint]);
    now = 1000;
    expect(await Promise.all([fingerprints(keys), fingerprints(keys)])).to.deep.equal([
      [two.fingerprint],
      [two.fingerprint],
    ]);
    expect((await keys.current()).id).not.to.equal(id);
  });

  it('keeps its name if only the formatting of a file changes', async () => {
    const keys = open();
    const { id } = await keys.current();
    await writeFile(path, `# the key of the pipeline\n${one.pem}`);
    now = 2000;
    expect((await keys.current()).id).to.equal(id);
  });

  it('keeps the previous keys while a file cannot be used, and reports this once', async () => {
    const keys = open();
    await writeFile(path, 'no key');
    for (const at of [1000, 2000]) {
      now = at;
      expect(await fingerprints(keys)).to.deep.equal([one.fingerprint]);
    }
    await rm(path);
    now = 3000;
    expect(await fingerprints(keys)).to.deep.equal([one.fingerprint]);
    expect(unusable.map(({ message }) => message.replace(path, 'keys.pem').replace(/'.*'/, ''))).to.deep.equal([
      'registry.signature.keys: keys.pem: has no PEM block PUBLIC KEY',
      'registry.signature.keys: keys.pem: ENOENT: no such file or directory, stat ',
    ]);
    await writeFile(path, two.pem);
    now = 4000;
    expect(await fingerprints(keys)).to.deep.equal([two.fingerprint]);
  });

  it('rejects if a file cannot be used at the start', async () => {
    expect(() => open({ keys: join(directory, 'absent') })).to.throw('ENOENT');
    expect(() => open({ keys: directory })).to.throw('registry.signature.keys');
    await writeFile(path, one.pem.repeat(33));
    expect(() => open()).to.throw('more than 32');
    await writeFile(path, one.pem.replace(/MF.*/, 'AAAA'));
    expect(() => open()).to.throw('registry.signature.keys');
    await writeFile(path, one.pem);
    expect(() => open({ roots: path })).to.throw('registry.signature.roots');
  });
});
