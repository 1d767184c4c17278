/** The contract of PackageStore: what every adapter and every fake of it promises. */
import { expect } from 'chai';
import type { PackageStore, StoreInspection } from '../../src/domain/ports/package-store.ts';
import { DigestMismatchError, StoreFullError, UpstreamUnavailableError } from '../../src/domain/errors.ts';
import { WITHHELD_BYTES } from '../../src/domain/verifier.ts';
import { bytesOf, makeBlob, type TestBlob } from '../support/image.ts';
import { rejection } from '../support/rejection.ts';
import { HeldSource, ingest, readAll, readSome, sourceOf } from '../support/source.ts';

export interface StoreUnderTest {
  readonly store: PackageStore & StoreInspection;
  /** Bytes that the store uses or has reserved, measured on the disk if it has one. */
  bytes(): number | Promise<number>;
  /** Closes the store, and checks that it leaves only cached blobs. */
  close(): Promise<void>;
}

const KIB = 1024;
const blob = (bytes: Uint8Array): TestBlob => makeBlob('application/octet-stream', bytes);

export function describePackageStore(name: string, make: (maxBytes: number) => Promise<StoreUnderTest>): void {
  describe(`${name} is a PackageStore that`, () => {
    const maxBytes = 1024 * KIB;
    let peer: StoreUnderTest;
    let store: PackageStore & StoreInspection;
    beforeEach(async () => {
      peer = await make(maxBytes);
      ({ store } = peer);
    });
    afterEach(() => peer.close());

    const keep = (given: TestBlob): Promise<void> => keepIn(store, given);
    const has = (given: TestBlob): Promise<boolean> => isIn(store, given);

    it('does not have a blob that was never stored', async () => {
      expect(await store.open(blob(bytesOf(5)).descriptor)).to.equal(undefined);
    });

    for (const size of [0, 1, 4096, WITHHELD_BYTES, WITHHELD_BYTES + 1, 500_000]) {
      it(`gives back what it was given (${String(size)} bytes)`, async () => {
        const given = blob(bytesOf(size));
        await keep(given);
        const stored = await store.open(given.descriptor);
        if (stored === undefined) throw new Error('not kept');
        expect(stored.size).to.equal(size);
        expect(stored.storedAt.getTime()).to.be.closeTo(Date.now(), 60_000);
        expect(Buffer.compare(await readAll(stored), given.bytes)).to.equal(0);
      });
    }

    it('reads from any offset, and nothing after the end', async () => {
      const given = blob(bytesOf(100_000));
      await keep(given);
      const stored = await store.open(given.descriptor);
      if (stored === undefined) throw new Error('not kept');
      expect(await stored.read(100_000)).to.have.lengthOf(0);
      expect(Buffer.compare(await readAll(stored, 99_990), given.bytes.subarray(99_990))).to.equal(0);
    });

    it('lets an early and a late reader read a blob while it arrives', async () => {
      const given = blob(bytesOf(300_000));
      const held = new HeldSource().give(given.bytes.subarray(0, 200_000));
      const incoming = await ingest(store, given.descriptor, held.source);
      const early = incoming.read();
      expect(Buffer.compare(await readSome(early, 150_000), given.bytes.subarray(0, 150_000))).to.equal(0);
      const late = incoming.read();
      held.give(given.bytes.subarray(200_000)).end();
      expect(Buffer.compare(await readAll(late), given.bytes)).to.equal(0);
      expect(Buffer.compare(await readAll(early, 150_000), given.bytes.subarray(150_000))).to.equal(0);
      await incoming.settled;
    });

    it('withholds the last 64 KiB until the whole blob is verified', async () => {
      const given = blob(bytesOf(WITHHELD_BYTES + 100));
      const held = new HeldSource().give(given.bytes);
      const incoming = await ingest(store, given.descriptor, held.source);
      const reader = incoming.read();
      expect(await reader.read(0)).to.have.lengthOf(100);
      let shown = false;
      const next = reader.read(100).then((bytes) => {
        shown = true;
        return bytes.byteLength;
      });
      await new Promise((resolve) => setImmediate(resolve));
      expect(shown).to.equal(false);
      held.end();
      expect(await next).to.be.greaterThan(0);
      await reader.close();
    });

    for (const size of [0, 300_000]) {
      it(`shows the end of it only when all of it is verified (${String(size)} bytes)`, async () => {
        const { descriptor, bytes } = blob(bytesOf(size));
        const held = new HeldSource().give(bytes);
        const reader = (await ingest(store, descriptor, held.source)).read();
        let shown = false;
        const end = reader.read(size).then((nothing) => {
          shown = true;
          return nothing;
        });
        await new Promise((resolve) => setImmediate(resolve));
        expect(shown).to.equal(false);
        held.end();
        expect(await end).to.have.lengthOf(0);
        await reader.close();
      });
    }

    it('never completes an empty blob that should not be empty', async () => {
      const given = blob(bytesOf(100));
      const incoming = await ingest(store, { ...given.descriptor, size: 0 }, sourceOf(new Uint8Array()));
      expect(await rejection(readAll(incoming.read()))).to.be.instanceOf(DigestMismatchError);
    });

    it('does not cache a blob with wrong bytes, and never completes its readers', async () => {
      const given = blob(bytesOf(200_000));
      const forged = given.bytes.slice();
      forged[199_999] = (forged[199_999] ?? 0) ^ 1;
      const incoming = await ingest(store, given.descriptor, sourceOf(forged));
      const reader = incoming.read();
      expect(await rejection(readAll(reader))).to.be.instanceOf(DigestMismatchError);
      expect(await rejection(incoming.settled)).to.be.instanceOf(DigestMismatchError);
      expect(await has(given)).to.equal(false);
    });

    for (const [what, length] of [
      ['fewer', 99_999],
      ['more', 100_001],
    ] as const) {
      it(`keeps nothing that has ${what} bytes than it should`, async () => {
        const bytes = bytesOf(100_001);
        const given = blob(bytes.subarray(0, 100_000));
        const incoming = await ingest(store, given.descriptor, sourceOf(bytes.subarray(0, length)));
        expect(await rejection(incoming.settled)).to.be.instanceOf(DigestMismatchError);
        expect(await has(given)).to.equal(false);
      });
    }

    it('does not cache a blob whose source fails, and tells every reader the cause', async () => {
      const given = blob(bytesOf(300_000));
      const held = new HeldSource().give(given.bytes.subarray(0, 100_000));
      const incoming = await ingest(store, given.descriptor, held.source);
      const readers = [incoming.read(), incoming.read()];
      const reason = new UpstreamUnavailableError();
      const outcomes = readers.map((reader) => rejection(readAll(reader)));
      held.fail(reason);
      expect(await Promise.all(outcomes)).to.deep.equal([reason, reason]);
      expect(await rejection(incoming.settled)).to.equal(reason);
      expect(await has(given)).to.equal(false);
    });

    it('has ended the download before a reader gets the failure, so no reader can join it', async () => {
      const given = blob(bytesOf(300_000));
      const incoming = await ingest(store, given.descriptor, sourceOf(bytesOf(300_000, 9)));
      let settled = false;
      incoming.settled.catch(() => (settled = true));
      await rejection(readAll(incoming.read()));
      await new Promise((resolve) => setImmediate(resolve));
      expect(settled).to.equal(true);
    });

    it('takes no room for an aborted reservation, nor before the first byte of another one', async () => {
      const [given, other] = [blob(bytesOf(900 * KIB)), blob(bytesOf(900 * KIB, 2))];
      const aborted = await store.reserve(given.descriptor);
      expect(await peer.bytes()).to.equal(0);
      expect(await rejection(store.reserve(other.descriptor))).to.be.instanceOf(StoreFullError);
      await aborted.abort();
      const reservation = await store.reserve(other.descriptor);
      expect([await peer.bytes(), await has(other)]).to.deep.equal([0, false]);
      await reservation.write(await sourceOf(other.bytes)()).settled;
      expect([await has(given), await has(other)]).to.deep.equal([false, true]);
    });

    it('closes a source that has more bytes than the descriptor', async () => {
      const given = blob(bytesOf(100_000));
      const held = new HeldSource().give(given.bytes).give(bytesOf(1));
      const incoming = await ingest(store, given.descriptor, held.source);
      expect(await rejection(incoming.settled)).to.be.instanceOf(DigestMismatchError);
      expect(held.left).to.equal(true);
    });

    it('waits for a source that stalls, and stores the rest of it', async () => {
      const given = blob(bytesOf(300_000));
      const held = new HeldSource().give(given.bytes.subarray(0, 1));
      const incoming = await ingest(store, given.descriptor, held.source);
      while (!held.waits) await new Promise((resolve) => setImmediate(resolve));
      held.give(new Uint8Array()).give(given.bytes.subarray(1)).end();
      await incoming.settled;
      expect(await has(given)).to.equal(true);
    });

    it('rejects with the error of a source that cannot be opened, and takes no room for it', async () => {
      const reason = new UpstreamUnavailableError();
      const refuse = async (): Promise<never> => {
        throw reason;
      };
      expect(await rejection(ingest(store, blob(bytesOf(900 * KIB)).descriptor, refuse))).to.equal(reason);
      expect(await peer.bytes()).to.equal(0);
      const next = blob(bytesOf(900 * KIB, 2));
      await keep(next);
      expect(await has(next)).to.equal(true);
    });

    it('evicts nothing for a blob that the registry refuses or of which it sends no byte', async () => {
      const blobs = [1, 2, 3].map((seed) => blob(bytesOf(300 * KIB, seed)));
      for (const given of blobs) await keep(given);
      const { descriptor } = blob(bytesOf(900 * KIB, 4));
      await rejection(ingest(store, descriptor, () => Promise.reject(new UpstreamUnavailableError())));
      const silent = new HeldSource();
      const incoming = await ingest(store, descriptor, silent.source);
      for (const given of blobs) expect(await has(given)).to.equal(true);
      silent.fail(new UpstreamUnavailableError());
      await rejection(incoming.settled);
      for (const given of blobs) expect(await has(given)).to.equal(true);
    });

    it('evicts as many bytes as arrive, and no more if the rest does not come', async () => {
      const blobs = [1, 2, 3].map((seed) => blob(bytesOf(300 * KIB, seed))) as [TestBlob, TestBlob, TestBlob];
      for (const given of blobs) await keep(given);
      const large = blob(bytesOf(900 * KIB, 4));
      const held = new HeldSource().give(large.bytes.subarray(0, 300 * KIB));
      const incoming = await ingest(store, large.descriptor, held.source);
      const reader = incoming.read();
      await readSome(reader, 200 * KIB);
      await reader.close();
      held.fail(new UpstreamUnavailableError());
      await rejection(incoming.settled);
      expect(await Promise.all(blobs.map(has))).to.deep.equal([false, true, true]);
    });

    for (const size of [0, 1, 99_999, 100_001, 2 ** 40]) {
      it(`does not have a blob of 100000 bytes as one of ${String(size)}, and goes on having it`, async () => {
        const given = blob(bytesOf(100_000));
        await keep(given);
        const { digest } = given.descriptor;
        expect(await store.open({ digest, size })).to.equal(undefined);
        expect(await has(given)).to.equal(true);
        const stored = await store.open({ digest });
        expect(stored?.size).to.equal(100_000);
        await stored?.close();
      });

      if (size > 2 ** 20) continue;
      it(`goes on having a blob of 100000 bytes when it arrives as one of ${String(size)}`, async () => {
        const given = blob(bytesOf(100_000));
        await keep(given);
        const incoming = await ingest(store, { ...given.descriptor, size }, sourceOf(given.bytes));
        expect(await rejection(readAll(incoming.read()))).to.be.instanceOf(DigestMismatchError);
        expect(await rejection(incoming.settled)).to.be.instanceOf(DigestMismatchError);
        expect(await has(given)).to.equal(true);
      });
    }

    it('stores a blob that failed before', async () => {
      const given = blob(bytesOf(50_000));
      const first = await ingest(store, given.descriptor, sourceOf(bytesOf(50_000, 9)));
      await rejection(first.settled);
      await keep(given);
      expect(await has(given)).to.equal(true);
    });

    it('continues when a reader leaves', async () => {
      const given = blob(bytesOf(200_000));
      const held = new HeldSource().give(given.bytes.subarray(0, 100_000));
      const incoming = await ingest(store, given.descriptor, held.source);
      const leaver = incoming.read();
      const waiting = rejection(leaver.read(150_000));
      await leaver.close();
      await waiting;
      held.give(given.bytes.subarray(100_000)).end();
      await incoming.settled;
      expect(await has(given)).to.equal(true);
    });

    it('refuses a blob larger than the store without opening its source', async () => {
      const held = new HeldSource();
      const error = await rejection(ingest(store, blob(bytesOf(maxBytes + 1)).descriptor, held.source));
      expect(error).to.be.instanceOf(StoreFullError);
      expect(held.opened).to.equal(0);
    });

    it('refuses a blob that has no room next to the arriving blobs', async () => {
      const first = new HeldSource();
      const bytes = bytesOf(700 * KIB);
      const incoming = await ingest(store, blob(bytes).descriptor, first.source);
      const second = await rejection(ingest(store, blob(bytesOf(700 * KIB, 2)).descriptor, new HeldSource().source));
      expect(second).to.be.instanceOf(StoreFullError);
      first.give(bytes).end();
      await incoming.settled;
    });

    it('evicts the least recently used blob first', async () => {
      const blobs = [1, 2, 3].map((seed) => blob(bytesOf(300 * KIB, seed)));
      const [first, second, third] = blobs as [TestBlob, TestBlob, TestBlob];
      for (const given of blobs) await keep(given);
      expect(await has(first)).to.equal(true);
      const fourth = blob(bytesOf(300 * KIB, 4));
      await keep(fourth);
      expect(await has(second)).to.equal(false);
      for (const given of [first, third, fourth]) expect(await has(given)).to.equal(true);
    });

    it('does not count a read as a use if the caller says so', async () => {
      const [first, second] = [blob(bytesOf(300 * KIB, 1)), blob(bytesOf(300 * KIB, 2))];
      for (const given of [first, second]) await keep(given);
      const before = store.info(first.descriptor.digest)?.usedAt;
      const looked = await store.open({ digest: first.descriptor.digest, isUse: false });
      await looked?.close();
      expect(looked?.size).to.equal(300 * KIB);
      expect(store.info(first.descriptor.digest)?.usedAt).to.deep.equal(before);
      for (const seed of [3, 4]) await keep(blob(bytesOf(300 * KIB, seed)));
      expect(await has(first)).to.equal(false);
    });

    for (const [what, used] of [
      ['nothing', 0],
      ['a blob that is arriving', 700],
    ] as const)
      it(`says what it has room for beside ${what} by the rule by which it takes blobs in`, async () => {
        const held = new HeldSource();
        const bytes = bytesOf(used * KIB);
        const arriving = used > 0 ? await ingest(store, blob(bytes).descriptor, held.source) : undefined;
        for (const size of [0, 1, 323 * KIB, 324 * KIB, 325 * KIB, maxBytes - 1, maxBytes, maxBytes + 1]) {
          const refusal = await store.refusal(size);
          const { descriptor } = blob(bytesOf(Math.min(size, maxBytes), 9));
          const refused = new UpstreamUnavailableError();
          const error = await rejection(ingest(store, { ...descriptor, size }, () => Promise.reject(refused)));
          expect(error === refused, `${String(size)} bytes`).to.equal(refusal === undefined);
          if (refusal !== undefined) expect(error).to.be.instanceOf(StoreFullError).and.to.include({ reason: refusal });
          if (size > maxBytes) expect(refusal).to.equal('store-too-small');
          else if (refusal !== undefined) expect(refusal).to.equal('store-full');
        }
        held.give(bytes).end();
        await arriving?.settled;
      });

    it('reports room that eviction would free, without evicting', async () => {
      const blobs = [1, 2, 3].map((seed) => blob(bytesOf(300 * KIB, seed)));
      for (const given of blobs) await keep(given);
      expect(await store.refusal(maxBytes)).to.equal(undefined);
      for (const given of blobs) expect(await has(given)).to.equal(true);
    });

    it('never exceeds its maximum size, also while a blob arrives', async () => {
      for (let seed = 1; seed <= 12; seed++) {
        const given = blob(bytesOf(200 * KIB, seed));
        const held = new HeldSource().give(given.bytes.subarray(0, 150 * KIB));
        const incoming = await ingest(store, given.descriptor, held.source);
        const reader = incoming.read();
        await readSome(reader, 50 * KIB);
        await reader.close();
        expect(await peer.bytes()).to.be.at.most(maxBytes);
        held.give(given.bytes.subarray(150 * KIB)).end();
        await incoming.settled;
        expect(await peer.bytes()).to.be.at.most(maxBytes);
      }
    });

    it('stores one blob when two arrive under the same digest', async () => {
      const given = blob(bytesOf(100_000));
      const both = await Promise.all([1, 2].map(() => ingest(store, given.descriptor, sourceOf(given.bytes))));
      await Promise.all(both.map(({ settled }) => settled));
      const stored = await store.open(given.descriptor);
      if (stored === undefined) throw new Error('not kept');
      expect(Buffer.compare(await readAll(stored), given.bytes)).to.equal(0);
      expect(await peer.bytes()).to.be.at.most(102_400);
    });

    it('reads a blob while others arrive', async () => {
      const read = blob(bytesOf(400 * KIB));
      await keep(read);
      const stored = await store.open(read.descriptor);
      if (stored === undefined) throw new Error('not kept');
      for (let seed = 2; seed < 8; seed++) {
        const incoming = await ingest(
          store,
          blob(bytesOf(300 * KIB, seed)).descriptor,
          sourceOf(bytesOf(300 * KIB, seed)),
        ).catch(() => undefined);
        await incoming?.settled;
      }
      expect(Buffer.compare(await readAll(stored), read.bytes)).to.equal(0);
    });
  });
}

/** The contract of StoreInspection, which every store keeps beside that of PackageStore. */
export function describeStoreInspection(name: string, make: (maxBytes: number) => Promise<StoreUnderTest>): void {
  describe(`${name} is a StoreInspection that`, () => {
    const maxBytes = 1024 * KIB;
    let peer: StoreUnderTest;
    let store: PackageStore & StoreInspection;
    beforeEach(async () => {
      peer = await make(maxBytes);
      ({ store } = peer);
    });
    afterEach(() => peer.close());
    const keep = (given: TestBlob): Promise<void> => keepIn(store, given);
    const has = (given: TestBlob): Promise<boolean> => isIn(store, given);

    it('shows the cached blobs, the most recently used first, without counting this as a use', async () => {
      const [first, second] = [blob(bytesOf(300 * KIB, 1)), blob(bytesOf(300 * KIB, 2))];
      const before = Date.now();
      await keep(first);
      await keep(second);
      await has(first);
      const { digest, size } = first.descriptor;
      const shown = store.info(digest);
      expect(shown).to.include({ digest, size });
      for (const time of [shown?.storedAt, shown?.usedAt, shown?.verifiedAt]) {
        expect(time?.getTime()).to.be.within(before, Date.now() + 1);
      }
      expect(store.list(9).map((kept) => kept.digest)).to.deep.equal([digest, second.descriptor.digest]);
      expect(store.list(1).map((kept) => kept.digest)).to.deep.equal([digest]);
      expect(store.usage).to.deep.include({ maxBytes, entries: 2 });
      expect(store.usage.bytes).to.equal(await peer.bytes());
      store.info(second.descriptor.digest);
      for (const seed of [3, 4]) await keep(blob(bytesOf(300 * KIB, seed)));
      expect(store.info(second.descriptor.digest)).to.equal(undefined);
      expect(store.info(digest)?.usedAt).to.deep.equal(shown?.usedAt);
    });

    it('shows no blob that is arriving', async () => {
      const given = blob(bytesOf(100_000));
      const held = new HeldSource().give(given.bytes);
      const incoming = await ingest(store, given.descriptor, held.source);
      expect([store.info(given.descriptor.digest), store.list(9)]).to.deep.equal([undefined, []]);
      held.end();
      await incoming.settled;
      expect(store.list(9)).to.have.lengthOf(1);
    });

    it('shows no blob whose bytes were wrong, too few, too many or missing', async () => {
      const given = blob(bytesOf(100_000));
      const { descriptor, bytes } = given;
      for (const wrong of [bytesOf(100_000, 9), bytes.subarray(1), Buffer.concat([bytes, bytes])]) {
        const incoming = await ingest(store, descriptor, sourceOf(wrong));
        expect(await rejection(incoming.settled)).to.be.instanceOf(DigestMismatchError);
      }
      const broken = await ingest(store, descriptor, new HeldSource().fail(new UpstreamUnavailableError()).source);
      await rejection(broken.settled);
      expect([store.list(9), store.info(descriptor.digest)]).to.deep.equal([[], undefined]);
      expect(store.usage).to.include({ entries: 0, bytes: 0 });
    });
  });
}

async function keepIn(store: PackageStore, { descriptor, bytes }: TestBlob): Promise<void> {
  const incoming = await ingest(store, descriptor, sourceOf(bytes));
  await incoming.settled;
  // The download releases the entry a turn later; it cannot be evicted before.
  await new Promise((resolve) => setImmediate(resolve));
}

async function isIn(store: PackageStore, { descriptor }: TestBlob): Promise<boolean> {
  const stored = await store.open(descriptor);
  await stored?.close();
  return stored !== undefined;
}
