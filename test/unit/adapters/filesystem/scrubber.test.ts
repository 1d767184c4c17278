import { expect } from 'chai';
import { readdirSync, readlinkSync } from 'node:fs';
import {
  appendFile,
  mkdir,
  mkdtemp,
  readdir,
  readlink,
  rm,
  stat,
  symlink,
  truncate,
  unlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FilesystemPackageStore } from '../../../../src/adapters/filesystem/filesystem-package-store.ts';
import { type Entry, Ledger } from '../../../../src/adapters/filesystem/ledger.ts';
import { Scrubber } from '../../../../src/adapters/filesystem/scrubber.ts';
import { digestHex } from '../../../../src/domain/descriptor.ts';
import { eventually } from '../../../support/eventually.ts';
import { bytesOf, makeBlob } from '../../../support/image.ts';
import { ingest, readAll, sourceOf } from '../../../support/source.ts';

describe('the scrub of a FilesystemPackageStore', () => {
  let directory: string;
  let store: FilesystemPackageStore;
  const given = makeBlob('application/octet-stream', bytesOf(300_000));
  const keep = async (): Promise<void> => (await ingest(store, given.descriptor, sourceOf(given.bytes))).settled;
  const flipped = (): Uint8Array => given.bytes.with(299_999, (given.bytes[299_999] ?? 0) ^ 1);
  const path = (): string => join(directory, 'v1/blobs/sha256', digestHex(given.descriptor.digest));

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'scrub-'));
    const before = new FilesystemPackageStore({ directory, maxBytes: 1e6 });
    await before.load();
    await (
      await ingest(before, given.descriptor, sourceOf(given.bytes))
    ).settled;
    await before.close();
  });
  afterEach(async () => {
    await store.close();
    await rm(directory, { recursive: true });
  });

  async function start(scrubBytesPerSecond: number): Promise<void> {
    store = new FilesystemPackageStore({ directory, maxBytes: 1e6, scrubBytesPerSecond });
    await store.load();
  }

  const damages: [what: string, damage: () => Promise<void>][] = [
    ['with a flipped bit', () => writeFile(path(), flipped())],
    ['that has become shorter', () => truncate(path(), 1000)],
    ['that has become longer', () => appendFile(path(), 'x')],
  ];
  for (const [what, damage] of damages) {
    it(`finds a file ${what} that no client reads, counts it and lets it be fetched again`, async () => {
      await damage();
      await start(100e6);
      await eventually(async () => {
        expect(store.usage).to.include({ damaged: 1, entries: 0, bytes: 0 });
      });
      await keep();
      const stored = await store.open(given.descriptor);
      if (stored === undefined) throw new Error('not kept');
      expect(Buffer.compare(await readAll(stored), given.bytes)).to.equal(0);
    });
  }

  it('finds a file that was removed after the start', async () => {
    const second = makeBlob('application/octet-stream', bytesOf(5000, 2));
    await start(0);
    await (
      await ingest(store, second.descriptor, sourceOf(second.bytes))
    ).settled;
    await store.close();
    // While the first file is read at this rate, the second one disappears.
    await start(1e6);
    await unlink(join(directory, 'v1/blobs/sha256', digestHex(second.descriptor.digest)));
    await eventually(async () => {
      expect(store.usage).to.include({ damaged: 1, entries: 1 });
    });
  });

  it('finds no fault in undamaged files', async () => {
    await start(100e6);
    await eventually(async () => {
      expect(store.usage.scrubbedBytes).to.equal(300_000);
    });
    expect(store.usage).to.include({ damaged: 0, entries: 1 });
  });

  it('does not count as a use, so the order of use stays', async () => {
    const used = new Date('2026-01-02T00:00:00Z');
    await utimes(path(), used, used);
    await start(100e6);
    await eventually(async () => {
      expect(store.usage.scrubbedBytes).to.equal(300_000);
    });
    expect((await stat(path())).mtime).to.deep.equal(used);
  });

  it('closes a file at once that is evicted while the scrub reads it', async () => {
    await start(1);
    await eventually(async () => {
      expect(store.usage.scrubbedBytes).to.be.greaterThan(0);
    });
    const other = makeBlob('application/octet-stream', bytesOf(900_000, 2));
    const incoming = await ingest(store, other.descriptor, sourceOf(other.bytes));
    const open = readdirSync('/proc/self/fd').map((fd) => readlinkOf(fd));
    expect(open.filter((target) => target.startsWith(directory) && target.endsWith('(deleted)'))).to.deep.equal([]);
    await incoming.settled;
    expect(store.usage).to.include({ entries: 1, damaged: 0 });
  });

  it('pauses between reads, and stops at once', async () => {
    await start(1);
    await eventually(async () => {
      expect(store.usage.scrubbedBytes).to.be.greaterThan(0);
    });
    await store.close();
    expect(store.usage.scrubbedBytes).to.be.lessThan(300_000);
  });

  it('does not read at all when its rate is 0', async () => {
    await writeFile(path(), flipped());
    await start(0);
    expect(store.usage).to.include({ scrubbedBytes: 0, damaged: 0, entries: 1 });
  });
});

/** A descriptor that was closed meanwhile has no target. */
function readlinkOf(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return '';
  }
}

describe('Scrubber', () => {
  let directory: string;
  let ledger: Ledger;
  let damaged: Entry[];
  let scrub: Scrubber;
  /** Fulfilled when a pass begins: of the first, the second, … */
  let passes: PromiseWithResolvers<undefined>[];
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'scrub-'));
    ledger = new Ledger(1e9);
    damaged = [];
    passes = Array.from({ length: 3 }, () => Promise.withResolvers<undefined>());
  });
  afterEach(async () => {
    await scrub.stop();
    await rm(directory, { recursive: true });
  });

  const pathOf = ({ digest }: Entry): string => join(directory, digestHex(digest));

  async function keep(size: number, seed: number): Promise<Entry> {
    const { descriptor, bytes } = makeBlob('application/octet-stream', bytesOf(size, seed));
    const entry = ledger.add(descriptor.digest, size, new Date(0), undefined);
    await writeFile(pathOf(entry), bytes);
    return entry;
  }

  const hold = (entry: Entry): (() => void) => {
    ledger.pin(entry);
    return () => {
      ledger.unpin(entry);
    };
  };

  function start(bytesPerSecond = 1e9): void {
    let begun = 0;
    const entries = (): Entry[] => {
      passes[begun++]?.resolve(undefined);
      return ledger.list();
    };
    scrub = new Scrubber({
      bytesPerSecond,
      entries,
      pathOf,
      onDamage: (entry) => damaged.push(entry),
      hold,
      restMs: 1,
    });
    scrub.start();
  }
  const secondPass = async (): Promise<unknown> => passes[1]?.promise;

  it('verifies each blob in each pass, and records the time', async () => {
    const [one, other] = [await keep(300_000, 1), await keep(10, 2)];
    start();
    await secondPass();
    for (const { verifiedMs } of [one, other]) expect(verifiedMs).to.be.closeTo(Date.now(), 60_000);
    await passes[2]?.promise;
    expect(scrub.bytes).to.be.at.least(2 * 300_010);
    expect(damaged).to.deep.equal([]);
  });

  const replacements: [what: string, replace: (path: string) => Promise<unknown>][] = [
    ['is gone', (path) => unlink(path)],
    ['is a link', (path) => unlink(path).then(() => symlink('/etc/hostname', path))],
    ['is a directory', (path) => unlink(path).then(() => mkdir(path))],
  ];
  for (const [what, replace] of replacements) {
    it(`finds that a file ${what}, and goes on`, async () => {
      const [bad, good] = [await keep(10, 1), await keep(10, 2)];
      await replace(pathOf(bad));
      start();
      await secondPass();
      expect(damaged[0]).to.equal(bad);
      expect(damaged).not.to.include(good);
      expect(bad.verifiedMs).to.equal(undefined);
      expect(good.verifiedMs).to.be.closeTo(Date.now(), 60_000);
    });
  }

  it('does not report a file as damaged that cannot be opened for now', async () => {
    const entry = await keep(10, 1);
    const path = join(pathOf(entry), 'below a file');
    scrub = new Scrubber({
      bytesPerSecond: 1e9,
      entries: () => {
        passes.shift()?.resolve(undefined);
        return [entry];
      },
      pathOf: () => path,
      onDamage: (found) => damaged.push(found),
      hold,
      restMs: 1,
    });
    const third = passes[2]?.promise;
    scrub.start();
    await third;
    expect(damaged).to.deep.equal([]);
    expect(entry.verifiedMs).to.equal(undefined);
  });

  it('does not read a blob that is no longer cached', async () => {
    const removed = await keep(10, 1);
    const listed = ledger.list();
    ledger.remove(removed);
    ledger.list = () => listed;
    start();
    await secondPass();
    expect(scrub.bytes).to.equal(0);
    expect(damaged).to.deep.equal([]);
  });

  it('prevents the eviction of a blob only until its file is open', async () => {
    const entry = await keep(300_000, 1);
    let evictable = NaN;
    const left = Promise.withResolvers<string[]>();
    scrub = new Scrubber({
      bytesPerSecond: 1e9,
      entries: () => ledger.list(),
      pathOf: (opened) => {
        evictable = [...ledger.evictable()].length;
        return pathOf(opened);
      },
      onDamage: (found) => damaged.push(found),
      hold: (held) => {
        const letLeave = hold(held);
        return () => {
          letLeave();
          ledger.remove(held);
          scrub.letGo(held);
          left.resolve(readdirSync('/proc/self/fd').map((fd) => readlinkOf(fd)));
        };
      },
      restMs: 1,
    });
    scrub.start();
    expect((await left.promise).filter((target) => target.startsWith(directory))).to.deep.equal([]);
    expect(evictable).to.equal(0);
    expect(entry.readers).to.equal(0);
  });

  it('reads no faster than its rate', async () => {
    await keep(300_000, 1);
    const startedAt = performance.now();
    start(1e6);
    await secondPass();
    expect(performance.now() - startedAt).to.be.within(290, 5000);
  });

  it('leaves no file open', async () => {
    const bad = await keep(10, 1);
    await keep(10, 2);
    await writeFile(pathOf(bad), 'other');
    start();
    await passes[2]?.promise;
    await scrub.stop();
    const open = await Promise.all(
      (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
    );
    expect(open.filter((path) => path.startsWith(directory))).to.deep.equal([]);
  });
});
