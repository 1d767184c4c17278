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

  it('accepts directories of the service that others can read', async () => {
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

  it('creates missing directories that only the service can use, under any umask', async () => {
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

  it('reports a file, a link or a broken link in the place of the directory itself', async () => {
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

  it('refuses directories of another user', async function () {
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

  it('reports which user cannot create the directory, and where', async function () {
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

  it('rejects if no directory can be created', async () => {
    expect(await rejection(makePrivate('/proc/cache', []))).to.be.instanceOf(StartError);
  });

  it('agrees with checkPrivate about existing directories', async () => {
    checkPrivate(directory, [own, join(own, 'missing')]);
    chmodSync(own, 0o777);
    expect(() => {
      checkPrivate(directory, [own]);
    }).to.throw(StartError, await refusal());
  });

  it('accepts a volume of root, as Kubernetes mounts it, if the directories in it belong to the service', async function () {
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

describe('FilesystemPackageStore in a directory of another user', () => {
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
