import { expect } from 'chai';
import { execFile, execFileSync } from 'node:child_process';
import { closeSync, existsSync, openSync } from 'node:fs';
import {
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import sinon from 'sinon';
import { FilesystemPackageStore } from '../../../../src/adapters/filesystem/filesystem-package-store.ts';
import { digestHex } from '../../../../src/domain/descriptor.ts';
import { EvictedError, StoreFailedError, StoreFullError } from '../../../../src/domain/errors.ts';
import type { BlobReader } from '../../../../src/domain/ports/package-store.ts';
import { eventually } from '../../../support/eventually.ts';
import { limitDisk } from '../../../support/full-disk.ts';
import { bytesOf, makeBlob, type TestBlob } from '../../../support/image.ts';
import { rejection } from '../../../support/rejection.ts';
import { HeldSource, ingest, readAll, readSome, sourceOf } from '../../../support/source.ts';

const KIB = 1024;
const blob = (bytes: Uint8Array): TestBlob => makeBlob('application/octet-stream', bytes);

describe('FilesystemPackageStore', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'package-store-'));
  });
  afterEach(() => rm(directory, { recursive: true }));

  const fileOf = ({ descriptor }: TestBlob): string => join(directory, 'v1/blobs/sha256', digestHex(descriptor.digest));

  async function start(maxBytes = 1024 * KIB): Promise<FilesystemPackageStore> {
    const store = new FilesystemPackageStore({ directory, maxBytes });
    await store.load();
    return store;
  }

  async function keep(store: FilesystemPackageStore, { descriptor, bytes }: TestBlob): Promise<void> {
    await (
      await ingest(store, descriptor, sourceOf(bytes))
    ).settled;
  }

  async function read(store: FilesystemPackageStore, { descriptor }: TestBlob): Promise<Buffer | undefined> {
    const stored = await store.open(descriptor);
    return stored && (await readAll(stored));
  }

  it('refuses a blob without room on the volume before its source is opened, and stores it when there is room', async () => {
    const store = await start();
    const given = blob(bytesOf(500 * KIB));
    let free = 400 * KIB;
    const release = limitDisk(directory, { fits: () => true, free: () => free });
    try {
      const held = new HeldSource();
      expect(await rejection(ingest(store, given.descriptor, held.source))).to.be.instanceOf(StoreFullError);
      expect(held.opened).to.equal(0);
      free = 600 * KIB;
      await keep(store, given);
    } finally {
      release();
    }
    await store.close();
  });

  describe('with slow readers', () => {
    let clock: sinon.SinonFakeTimers;
    let store: FilesystemPackageStore;
    beforeEach(async () => {
      clock = sinon.useFakeTimers({ toFake: ['performance'] });
      store = await start();
    });
    afterEach(async () => {
      await store.close();
      clock.restore();
    });
    const [first, second, third] = [1, 2, 3].map((seed) => blob(bytesOf(400 * KIB, seed))) as [
      TestBlob,
      TestBlob,
      TestBlob,
    ];

    async function open({ descriptor }: TestBlob): Promise<BlobReader> {
      const stored = await store.open(descriptor);
      if (stored === undefined) throw new Error('not kept');
      return stored;
    }

    async function downloading({ descriptor, bytes }: TestBlob): Promise<BlobReader> {
      const incoming = await ingest(store, descriptor, sourceOf(bytes));
      const reader = incoming.read();
      await incoming.settled;
      return reader;
    }

    const sources: [what: string, open: (given: TestBlob) => Promise<BlobReader>][] = [
      ['stored', async (given) => keep(store, given).then(() => open(given))],
      ['downloaded', downloading],
    ];
    for (const [what, begin] of sources) {
      it(`takes the room of a ${what} blob from readers that stall, and leaves them the bytes that they have`, async () => {
        const readers = [await begin(first), await begin(second)];
        const bytes = await Promise.all(readers.map((reader) => reader.read(0)));
        clock.tick(251);
        await keep(store, third);
        expect(await read(store, third)).to.have.lengthOf(400 * KIB);
        expect(Buffer.compare(bytes[0] ?? bytesOf(1), first.bytes.subarray(0, bytes[0]?.byteLength))).to.equal(0);
        expect(store.info(first.descriptor.digest)).to.equal(undefined);
        expect(store.info(second.descriptor.digest)).not.to.equal(undefined);
        const [evicted, spared] = readers as [BlobReader, BlobReader];
        expect(await rejection(evicted.read(65_536))).to.be.instanceOf(EvictedError);
        expect(await spared.read(65_536)).not.to.have.lengthOf(0);
        await Promise.all(readers.map((reader) => reader.close()));
      });
    }

    it('takes no room from readers that read, nor from slow readers if a fast one reads the same blob', async () => {
      await keep(store, first);
      await keep(store, second);
      const readers = [await open(first), await open(second), await open(second)];
      await Promise.all(readers.map((reader) => reader.read(0)));
      clock.tick(60);
      for (const reader of readers.slice(0, 2)) await reader.read(65_536);
      clock.tick(200);
      expect(await rejection(keep(store, third))).to.be.instanceOf(StoreFullError);
      for (const reader of readers) {
        await reader.read(65_536 * 3);
        await reader.close();
      }
    });

    it('takes no room from slow readers if it would not be enough', async () => {
      await keep(store, first);
      const reader = await open(first);
      await reader.read(0);
      clock.tick(10_000);
      expect(await rejection(keep(store, blob(bytesOf(2000 * KIB))))).to.be.instanceOf(StoreFullError);
      await reader.read(65_536);
      await reader.close();
      expect(store.info(first.descriptor.digest)).not.to.equal(undefined);
    });

    it('counts the room of a slow reader only once when two downloads need it', async () => {
      const readers = [await downloading(first), await downloading(second)];
      await Promise.all(readers.map((reader) => reader.read(0)));
      clock.tick(251);
      const others = [third, blob(bytesOf(400 * KIB, 4))];
      await Promise.all(others.map((given) => keep(store, given)));
      expect(store.usage).to.include({ entries: 2, bytes: 800 * KIB });
      await Promise.all(readers.map((reader) => reader.close()));
      expect(store.usage).to.include({ entries: 2, bytes: 800 * KIB });
    });
  });

  it('stores blobs in the directories of an OCI image layout', async () => {
    const store = await start();
    const given = blob(bytesOf(5000));
    await keep(store, given);
    expect(Buffer.compare(await readFile(fileOf(given)), given.bytes)).to.equal(0);
    await store.close();
  });

  it('never lists a cached blob as arriving, since its file may be closed by then', async () => {
    const store = await start();
    const given = blob(bytesOf(100 * KIB));
    const held = new HeldSource().give(given.bytes);
    const incoming = await ingest(store, given.descriptor, held.source);
    let settled = false;
    void incoming.settled.then(() => (settled = true));
    held.end();
    while (!existsSync(fileOf(given))) await new Promise(setImmediate);
    expect(settled).to.equal(true);
    await store.close();
  });

  it('has all blobs after a restart, in the order of their last use', async () => {
    const before = await start();
    const [a, b, c] = [1, 2, 3].map((seed) => blob(bytesOf(300 * KIB, seed))) as [TestBlob, TestBlob, TestBlob];
    for (const given of [a, b, c]) await keep(before, given);
    // Blobs that arrive in one tick of the kernel's clock are ordered by their use only.
    for (const given of [b, c, a]) await read(before, given);
    await before.close();

    const after = await start();
    expect(after.usage.entries).to.equal(3);
    await keep(after, blob(bytesOf(300 * KIB, 4)));
    expect(await read(after, b)).to.equal(undefined);
    expect(Buffer.compare((await read(after, a)) ?? Buffer.of(), a.bytes)).to.equal(0);
    expect(Buffer.compare((await read(after, c)) ?? Buffer.of(), c.bytes)).to.equal(0);
    await after.close();
  });

  it('has the same order after a restart if the clock has gone back', async () => {
    const sized = (kib: number, seed: number): TestBlob => blob(bytesOf(kib * KIB, seed));
    const [a, b, c, d] = [1, 2, 3, 4].map((seed) => sized(200, seed)) as [TestBlob, TestBlob, TestBlob, TestBlob];
    let store = await start();
    for (const given of [a, b, c]) await keep(store, given);
    await store.close();
    const tomorrow = Date.now() / 1000 + 86_400;
    for (const [later, given] of [a, b, c].entries()) await utimes(fileOf(given), tomorrow, tomorrow + later);

    store = await start();
    await read(store, a);
    await keep(store, d);
    await store.close();

    store = await start();
    await keep(store, sized(500, 5));
    const kept = await Promise.all([a, b, c, d].map(async (given) => (await read(store, given)) !== undefined));
    expect(kept).to.deep.equal([true, false, false, true]);
    await store.close();
  });

  it('has the same order after a restart also for blobs that were only read, scrubbed or used in the same moment', async () => {
    const before = await start();
    const blobs = Array.from({ length: 20 }, (_, seed) => blob(bytesOf(4096, seed + 1)));
    for (const given of blobs) await keep(before, given);
    const used = [3, 17, 4, 11, 0].map((index) => blobs[index] ?? blob(bytesOf(0)));
    for (const given of used) await read(before, given);
    await before.close();
    // A scrub or a backup also reads the files, which does not count as a use.
    for (const given of blobs) await readFile(fileOf(given));
    const order = [...blobs.filter((given) => !used.includes(given)), ...used];

    const after = await start(10 * 4096);
    const kept = order.slice(-10).map(({ descriptor }) => digestHex(descriptor.digest));
    expect(await readdir(join(directory, 'v1/blobs/sha256'))).to.have.members(kept);
    await after.close();
  });

  it('treats each use after a restart as later than all uses before it', async () => {
    const before = await start();
    const [often, once, last] = [1, 2, 3].map((seed) => blob(bytesOf(300 * KIB, seed))) as [
      TestBlob,
      TestBlob,
      TestBlob,
    ];
    await keep(before, often);
    for (let use = 0; use < 2000; use++) await (await before.open(often.descriptor))?.close();
    await before.close();
    const between = await start();
    await keep(between, once);
    await between.close();

    const after = await start(650 * KIB);
    await keep(after, last);
    expect(await read(after, often)).to.equal(undefined);
    expect(await read(after, once)).to.have.lengthOf(300 * KIB);
    await after.close();
  });

  it('evicts at the start if its maximum size was lowered', async () => {
    const before = await start();
    for (const seed of [1, 2, 3]) await keep(before, blob(bytesOf(300 * KIB, seed)));
    await before.close();
    const after = await start(700 * KIB);
    expect(after.usage).to.include({ entries: 2, bytes: 600 * KIB });
    expect(await readdir(join(directory, 'v1/blobs/sha256'))).to.have.lengthOf(2);
    await after.close();
  });

  it('removes the temporary files of a process that was killed', async () => {
    const dying = await start();
    const held = new HeldSource().give(bytesOf(100 * KIB));
    const incoming = await ingest(dying, blob(bytesOf(200 * KIB)).descriptor, held.source);
    const reader = incoming.read();
    await readSome(reader, 1);
    await reader.close();
    expect(await readdir(join(directory, 'v1/ingest'))).to.have.lengthOf(1);

    const after = await start();
    expect(await readdir(join(directory, 'v1/ingest'))).to.deep.equal([]);
    expect(after.usage).to.include({ entries: 0, bytes: 0 });
    held.fail(new Error('gone'));
    await rejection(incoming.settled);
    await after.close();
  });

  it('starts with foreign files in its directory and does not change them', async () => {
    await (await start()).close();
    const blobs = join(directory, 'v1/blobs/sha256');
    await mkdir(join(blobs, 'a'.repeat(64)));
    await symlink('/etc/hostname', join(blobs, 'b'.repeat(64)));
    await writeFile(join(blobs, 'README'), 'hello');
    await writeFile(join(directory, 'lost'), 'found');
    const store = await start();
    expect(store.usage.entries).to.equal(0);
    expect(await readdir(blobs)).to.have.lengthOf(3);
    await store.close();
  });

  it('reports why it cannot use a directory', async () => {
    await writeFile(join(directory, 'v1'), 'a file');
    expect(await rejection(start()))
      .to.be.instanceOf(StoreFailedError)
      .with.nested.property('cause.message', `${directory}/v1 is not a directory`);
  });

  /** Descriptors of this process that are files of the store, removed ones too. */
  async function openFiles(): Promise<number> {
    const fds = await readdir('/proc/self/fd');
    const paths = await Promise.all(fds.map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')));
    return paths.filter((path) => path.startsWith(directory)).length;
  }

  it('keeps the order of use after a restart also for blobs that were read from memory', async () => {
    const before = await start();
    const [a, b] = [1, 2].map((seed) => blob(bytesOf(40 * KIB, seed))) as [TestBlob, TestBlob];
    for (const given of [a, b]) await keep(before, given);
    for (const given of [a, b, a]) await read(before, given);
    await before.close();
    const after = await start(40 * KIB);
    expect(await read(after, b)).to.equal(undefined);
    expect(Buffer.compare((await read(after, a)) ?? Buffer.of(), a.bytes)).to.equal(0);
    await after.close();
  });

  it('counts evicted blobs, and closes their files at once', async () => {
    const store = await start();
    for (const seed of [1, 2, 3]) {
      const given = blob(bytesOf(400 * KIB, seed));
      await keep(store, given);
      await read(store, given);
    }
    expect(store.usage).to.include({ evicted: 1, entries: 2, bytes: 800 * KIB });
    expect(await openFiles()).to.equal(2);
    await store.close();
    expect(await openFiles()).to.equal(0);
  });

  describe('open', () => {
    it('closes a damaged file when its last reader leaves, and counts the damage once', async () => {
      const store = await start();
      const given = blob(bytesOf(100_000));
      await keep(store, given);
      const readers = [await store.open(given.descriptor), await store.open(given.descriptor)];
      await truncate(fileOf(given), 10);
      for (const reader of readers) {
        expect(await rejection(reader?.read(50_000) ?? Promise.resolve())).to.be.instanceOf(StoreFailedError);
      }
      expect(store.usage).to.include({ entries: 0, damaged: 1 });
      await readers[0]?.close();
      expect(await openFiles()).to.equal(1);
      expect(store.usage.bytes).to.be.greaterThan(0);
      await readers[1]?.close();
      expect(await openFiles()).to.equal(0);
      expect(store.usage.bytes).to.equal(0);
      await store.close();
    });

    it('rejects when the process has too many open files, and does not report the blob as damaged', async () => {
      const store = await start();
      const given = blob(bytesOf(100_000));
      await keep(store, given);
      const limit = (files: number | string): void => {
        execFileSync('prlimit', ['--pid', String(process.pid), `--nofile=${String(files)}:`]);
      };
      const held: number[] = [];
      const before = execFileSync('prlimit', [
        '--pid',
        String(process.pid),
        '--nofile',
        '--noheadings',
        '--output=SOFT',
      ]);
      limit(Math.max(...(await readdir('/proc/self/fd')).map(Number)) + 50);
      try {
        // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- until there is none left
        while (true) held.push(openSync('/dev/null', 'r'));
      } catch (error) {
        expect(error).to.have.property('code', 'EMFILE');
        expect(await rejection(store.open(given.descriptor)))
          .to.be.instanceOf(StoreFailedError)
          .with.nested.property('cause.code', 'EMFILE');
      } finally {
        held.forEach(closeSync);
        limit(before.toString().trim());
      }
      expect(store.usage).to.include({ entries: 1, damaged: 0 });
      expect(Buffer.compare((await read(store, given)) ?? Buffer.of(), given.bytes)).to.equal(0);
      await store.close();
    });

    const damages: Record<string, (path: string) => Promise<unknown>> = {
      deleted: (path) => rm(path),
      truncated: (path) => truncate(path, 10),
      extended: (path) => truncate(path, 200_000),
      'replaced by a link': async (path) => {
        await rm(path);
        await symlink('/etc/hostname', path);
      },
      'replaced by a directory': async (path) => {
        await rm(path);
        await mkdir(path);
      },
    };
    for (const [how, damage] of Object.entries(damages)) {
      it(`does not have a blob that was ${how} meanwhile, and stores it again`, async () => {
        const store = await start();
        const given = blob(bytesOf(100_000));
        await keep(store, given);
        await damage(fileOf(given));
        expect(await read(store, given)).to.equal(undefined);
        expect(store.usage).to.include({ entries: 0, bytes: 0, damaged: 1 });
        await keep(store, given);
        expect(Buffer.compare((await read(store, given)) ?? Buffer.of(), given.bytes)).to.equal(0);
        await store.close();
      });
    }

    it('verifies a blob before its first use after an unclean stop', async () => {
      const dying = await start();
      const [good, bad] = [blob(bytesOf(100_000)), blob(bytesOf(100_000, 2))];
      await keep(dying, good);
      await keep(dying, bad);
      const forged = bad.bytes.slice();
      forged[50_000] = (forged[50_000] ?? 0) ^ 1;
      await writeFile(fileOf(bad), forged);

      const after = await start();
      expect(await read(after, bad)).to.equal(undefined);
      expect(Buffer.compare((await read(after, good)) ?? Buffer.of(), good.bytes)).to.equal(0);
      expect(after.usage).to.include({ entries: 1, damaged: 1 });
      await after.close();
    });

    it('verifies a blob before its first use when no process has verified it since an unclean stop', async () => {
      const dying = await start();
      const given = blob(bytesOf(100_000));
      await keep(dying, given);
      await writeFile(fileOf(given), bytesOf(100_000, 2));
      await (await start()).close();

      const after = await start();
      expect(await read(after, given)).to.equal(undefined);
      await after.close();
    });

    it('reports when each blob was last verified, and nothing after an unclean stop until it is verified again', async () => {
      const given = blob(bytesOf(100_000));
      const before = await start();
      await keep(before, given);
      const kept = before.info(given.descriptor.digest);
      await before.close();
      const again = await start();
      const shown = again.info(given.descriptor.digest);
      expect(shown?.verifiedAt).to.deep.equal(kept?.verifiedAt);
      expect(shown?.usedAt.getTime()).to.be.closeTo(kept?.usedAt.getTime() ?? NaN, 1);

      const after = await start();
      expect(after.info(given.descriptor.digest)?.verifiedAt).to.equal(undefined);
      await read(after, given);
      expect(after.info(given.descriptor.digest)?.verifiedAt?.getTime()).to.be.greaterThan(
        kept?.verifiedAt?.getTime() ?? NaN,
      );
      await after.close();
      await again.close();
    });

    it('accepts a marker without the times of verification', async () => {
      const given = blob(bytesOf(100_000));
      const before = await start();
      await keep(before, given);
      await before.close();
      await writeFile(join(directory, 'v1/clean'), `${given.descriptor.digest} 100000\n`);
      const { mtimeMs } = await stat(join(directory, 'v1/clean'));
      const after = await start();
      expect(after.info(given.descriptor.digest)?.verifiedAt?.getTime()).to.be.closeTo(mtimeMs, 1);
      await after.close();
    });

    it('verifies a file again that was changed while no process had the store', async () => {
      const before = await start();
      const given = blob(bytesOf(100_000));
      await keep(before, given);
      await before.close();
      // The clock of a file system ticks slowly.
      await eventually(async () => {
        await writeFile(fileOf(given), bytesOf(100_000, 2));
        const [changed, ended] = await Promise.all([stat(fileOf(given)), stat(join(directory, 'v1/clean'))]);
        expect(changed.ctimeMs).to.be.greaterThan(ended.mtimeMs);
      });

      const after = await start();
      expect(await read(after, given)).to.equal(undefined);
      await after.close();
    });

    it('does not have a blob that was truncated before a clean stop', async () => {
      const before = await start();
      const given = blob(bytesOf(100_000));
      await keep(before, given);
      await truncate(fileOf(given), 10);
      await before.close();

      const after = await start();
      expect(await read(after, given)).to.equal(undefined);
      await after.close();
    });

    it('verifies a file that another program has created', async () => {
      const before = await start();
      const given = blob(bytesOf(100_000));
      await writeFile(fileOf(given), bytesOf(100_000, 2));
      await before.close();

      const after = await start();
      expect(await read(after, given)).to.equal(undefined);
      await after.close();
    });

    it('does not block on a pipe in the place of a file', async () => {
      const store = await start();
      const given = blob(bytesOf(100_000));
      await keep(store, given);
      await rm(fileOf(given));
      await promisify(execFile)('mkfifo', [fileOf(given)]);
      expect(await read(store, given)).to.equal(undefined);
      await store.close();
    });

    it('does not evict a blob that is being read', async () => {
      const store = await start();
      const read = blob(bytesOf(400 * KIB));
      await keep(store, read);
      const stored = await store.open(read.descriptor);
      // A blob that was just cached can be evicted once its descriptor is closed, a moment later.
      for (const seed of [2, 3, 4]) await eventually(() => keep(store, blob(bytesOf(400 * KIB, seed))));
      expect(await readdir(join(directory, 'v1/blobs/sha256'))).to.include(digestHex(read.descriptor.digest));
      await stored?.close();
      await store.close();
    });
  });

  describe('ingest', () => {
    it('releases the reserved room when a file cannot be created', async () => {
      const store = await start();
      await rm(join(directory, 'v1/ingest'), { recursive: true });
      await writeFile(join(directory, 'v1/ingest'), 'a file');
      const error = await rejection(ingest(store, blob(bytesOf(10)).descriptor, new HeldSource().source));
      expect(error).to.be.instanceOf(StoreFailedError);
      expect(store.usage.bytes).to.equal(0);
      await store.close();
    });

    it('completes the readers of a verified file that cannot be renamed, and does not cache it', async () => {
      const store = await start();
      const given = blob(bytesOf(10));
      const incoming = await ingest(store, given.descriptor, async () => {
        await rm(join(directory, 'v1/blobs'), { recursive: true });
        await writeFile(join(directory, 'v1/blobs'), 'a file');
        return sourceOf(given.bytes)();
      });
      const reader = incoming.read();
      expect(Buffer.compare(await readAll(reader), given.bytes)).to.equal(0);
      expect(await rejection(incoming.settled)).to.be.instanceOf(StoreFailedError);
      await store.close();
      expect(store.usage.bytes).to.equal(0);
      expect(store.info(given.descriptor.digest)).to.equal(undefined);
    });

    for (const folder of ['', 'v1', 'v1/ingest', 'v1/blobs', 'v1/blobs/sha256']) {
      it(`makes ${folder === '' ? 'the directory' : folder} again when it was removed`, async () => {
        const store = await start();
        await rm(join(directory, folder), { recursive: true });
        const given = blob(bytesOf(100_000));
        await keep(store, given);
        expect(Buffer.compare((await read(store, given)) ?? Buffer.of(), given.bytes)).to.equal(0);
        await store.close();
      });
    }

    it('replaces a directory that has the name of a blob', async () => {
      await mkdir(join(directory, 'v1/blobs/sha256'), { recursive: true });
      const given = blob(bytesOf(100_000));
      await mkdir(fileOf(given));
      await writeFile(join(fileOf(given), 'stranger'), 'hello');
      const store = await start();
      await keep(store, given);
      expect(Buffer.compare((await read(store, given)) ?? Buffer.of(), given.bytes)).to.equal(0);
      await store.close();
    });

    it('counts a file that another one has replaced until its last reader leaves', async () => {
      const store = await start();
      const { descriptor, bytes } = blob(bytesOf(100 * KIB));
      const first = await ingest(store, descriptor, sourceOf(bytes));
      const reader = first.read();
      await first.settled;
      const second = await ingest(store, descriptor, sourceOf(bytes));
      await second.settled;
      expect(store.usage).to.include({ entries: 1, bytes: 200 * KIB });
      expect(Buffer.compare(await readAll(reader), bytes)).to.equal(0);
      await nextTurn();
      expect(store.usage).to.include({ entries: 1, bytes: 100 * KIB });
      await store.close();
    });

    it('closes a damaged file when its last reader leaves, also if this reader has read it while it arrived', async () => {
      const store = await start();
      const given = blob(bytesOf(100 * KIB));
      const incoming = await ingest(store, given.descriptor, sourceOf(given.bytes));
      const follower = incoming.read();
      await incoming.settled;
      const stored = await store.open(given.descriptor);
      await truncate(fileOf(given), 10);
      await rejection(stored?.read(1000) ?? Promise.resolve());
      await stored?.close();
      await follower.close();
      await nextTurn();
      expect(store.usage).to.include({ entries: 0, bytes: 0, damaged: 1 });
      expect(await openBelow(directory)).to.deep.equal([]);
      await store.close();
    });
  });

  describe('checkWritable', () => {
    it('accepts a writable directory, and leaves no file in it', async () => {
      const store = await start();
      await store.checkWritable();
      expect(await readdir(join(directory, 'v1'))).to.have.members(['blobs', 'ingest']);
      await store.close();
    });

    it('accepts a writable directory for many callers at the same time', async () => {
      const store = await start();
      const checks: Promise<void>[] = [];
      for (let asked = 0; asked < 200; asked++) {
        checks.push(store.checkWritable());
        await nextTurn();
      }
      await Promise.all(checks);
      await store.close();
    });

    it('creates a missing directory again', async () => {
      const store = await start();
      await rm(join(directory, 'v1'), { recursive: true });
      await store.checkWritable();
      await store.close();
    });

    it('rejects when the directory was replaced by a file', async () => {
      const store = await start();
      await rm(join(directory, 'v1'), { recursive: true });
      await writeFile(join(directory, 'v1'), 'a file');
      expect(await rejection(store.checkWritable())).to.be.instanceOf(StoreFailedError);
    });
  });
});

/** Open files of this process below a directory, including removed ones. */
async function openBelow(directory: string): Promise<string[]> {
  const descriptors = await readdir('/proc/self/fd');
  const targets = descriptors.map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => ''));
  return (await Promise.all(targets)).filter((target) => target.startsWith(directory));
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
