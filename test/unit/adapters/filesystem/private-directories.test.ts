import { expect } from 'chai';
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FilesystemPackageStore } from '../../../../src/adapters/filesystem/filesystem-package-store.ts';
import { checkPrivate, makePrivate } from '../../../../src/adapters/filesystem/private-directories.ts';
import { StartError, StoreFailedError } from '../../../../src/domain/errors.ts';
import { rejection } from '../../../support/rejection.ts';

const NOBODY = 65534;
const isRoot = process.geteuid?.() === 0;

describe('makePrivate', () => {
  let parent: string;
  let directory: string;
  let own: string;
  beforeEach(() => {
    parent = mkdtempSync(join(tmpdir(), 'private-directories-'));
    directory = join(parent, 'cache');
    own = join(directory, 'v1');
    mkdirSync(own, { recursive: true });
    chmodSync(directory, 0o755);
    chmodSync(own, 0o700);
  });
  afterEach(() => {
    rmSync(parent, { recursive: true, force: true });
  });

  const refusal = async (): Promise<string> => (await rejection(makePrivate(directory, [own]))).message;

  it('is content with directories of the service, which others may read', async () => {
    await makePrivate(directory, [own]);
  });

  for (const mode of [0o777, 0o775, 0o757, 0o1777, 0o2770]) {
    it(`refuses a directory of its own with the mode ${mode.toString(8)}`, async () => {
      for (const path of [directory, own]) {
        const { mode: before } = lstatSync(path);
        chmodSync(path, mode);
        expect(await refusal()).to.equal(
          `${path} can be written by other users: chmod go-w, or choose another directory`,
        );
        chmodSync(path, before);
      }
    });
  }

  it('makes what is missing, for the service alone, under any umask', async () => {
    rmSync(directory, { recursive: true });
    const umask = process.umask(0);
    try {
      await makePrivate(directory, [own]);
    } finally {
      process.umask(umask);
    }
    expect([directory, own].map((path) => lstatSync(path).mode & 0o777)).to.deep.equal([0o700, 0o700]);
  });

  it('refuses a link in the place of a directory', async () => {
    rmSync(own, { recursive: true });
    mkdirSync(join(parent, 'elsewhere'));
    symlinkSync(join(parent, 'elsewhere'), own);
    expect(await refusal()).to.equal(`${own} is a symbolic link: name the directory itself`);
  });

  it('says what lies in the place of the directory itself: a file, a link, a link to nothing', async () => {
    rmSync(directory, { recursive: true });
    writeFileSync(directory, '');
    expect(await refusal()).to.equal(`${directory} is not a directory`);
    for (const target of [parent, join(parent, 'nowhere')]) {
      rmSync(directory);
      symlinkSync(target, directory);
      expect(await refusal()).to.equal(`${directory} is a symbolic link: name the directory itself`);
    }
  });

  it('refuses a file in the place of a directory', async () => {
    rmSync(own, { recursive: true });
    writeFileSync(own, '');
    expect(await refusal()).to.equal(`${own} is not a directory`);
  });

  it('refuses what belongs to another user', async function () {
    if (!isRoot) return this.skip();
    for (const path of [directory, own]) {
      chownSync(path, NOBODY, NOBODY);
      expect(await refusal()).to.match(
        new RegExp(`^${path} belongs to user ${String(NOBODY)} and the service runs as 0`),
      );
      chownSync(path, 0, 0);
    }
    return undefined;
  });

  it('says which user may not make it, and where', async function () {
    if (!isRoot || process.seteuid === undefined) return this.skip();
    chmodSync(parent, 0o755);
    rmSync(directory, { recursive: true });
    process.seteuid(NOBODY);
    try {
      const error = await rejection(makePrivate(directory, [own]));
      expect(error).to.be.instanceOf(StartError);
      expect(error.message).to.equal(
        `${directory} cannot be made by user ${String(NOBODY)} (EACCES): let this user write in ${parent}, or choose another directory`,
      );
    } finally {
      process.seteuid(0);
    }
    return undefined;
  });

  it('ends where nothing can be made', async () => {
    expect(await rejection(makePrivate('/proc/cache', []))).to.be.instanceOf(StartError);
  });

  it('is what checkPrivate says of the directories that are there', async () => {
    checkPrivate(directory, [own, join(own, 'missing')]);
    chmodSync(own, 0o777);
    expect(() => {
      checkPrivate(directory, [own]);
    }).to.throw(StartError, await refusal());
  });

  it('takes a volume that belongs to root, as Kubernetes mounts them, and only with directories of its own in it', async function () {
    if (!isRoot || process.seteuid === undefined) return this.skip();
    chmodSync(parent, 0o755);
    chmodSync(directory, 0o2777);
    chownSync(own, NOBODY, NOBODY);
    process.seteuid(NOBODY);
    try {
      await makePrivate(directory, [own]);
    } finally {
      process.seteuid(0);
    }
    chownSync(own, 0, 0);
    process.seteuid(NOBODY);
    try {
      expect(await refusal()).to.include(`${own} belongs to user 0 and the service runs as ${String(NOBODY)}`);
    } finally {
      process.seteuid(0);
    }
    return undefined;
  });
});

describe('FilesystemPackageStore in a directory that is not its own', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'foreign-'));
  });
  afterEach(() => {
    rmSync(directory, { recursive: true });
  });

  for (const folder of ['v1', 'v1/blobs', 'v1/blobs/sha256', 'v1/ingest']) {
    it(`touches nothing behind a link at ${folder}`, async () => {
      const target = join(directory, 'target');
      mkdirSync(target);
      writeFileSync(join(target, 'precious'), 'as it was');
      mkdirSync(join(directory, folder, '..'), { recursive: true, mode: 0o700 });
      symlinkSync(target, join(directory, folder));
      const store = new FilesystemPackageStore({ directory, maxBytes: 1e6 });
      const error = await rejection(store.load());
      expect(error)
        .to.be.instanceOf(StoreFailedError)
        .with.nested.property('cause.message')
        .include('is a symbolic link');
      expect(readdirSync(target)).to.deep.equal(['precious']);
    });
  }
});
