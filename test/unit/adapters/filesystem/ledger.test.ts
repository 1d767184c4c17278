import { expect } from 'chai';
import fc from 'fast-check';
import { allocated, type Entry, Ledger, type Room } from '../../../../src/adapters/filesystem/ledger.ts';
import { type Digest, digestOf } from '../../../../src/domain/descriptor.ts';

const digest = (n: number) => digestOf(Uint8Array.of(n));
const BLOCK = 4096;

describe('Ledger', () => {
  it('counts whole blocks, as the volume does', () => {
    expect([0, 1, BLOCK, BLOCK + 1].map(allocated)).to.deep.equal([0, BLOCK, BLOCK, 2 * BLOCK]);
  });

  /** The blobs that are evicted for one of `size` bytes, all of which arrive; undefined when there can be no room. */
  function admit(ledger: Ledger, size: number): Digest[] | undefined {
    const room = ledger.reserve(size);
    if (room === undefined) return undefined;
    const left: Digest[] = [];
    for (const entry of ledger.evictable()) {
      if (ledger.bytes + room.missing(size) <= ledger.limit) break;
      ledger.remove(entry);
      left.push(entry.digest);
    }
    room.take(size);
    return left;
  }

  it('lists the entries that can be evicted, the least recently used first', () => {
    const ledger = new Ledger(4 * BLOCK);
    const entries = [1, 2, 3, 4].map((n) => ledger.add(digest(n), BLOCK, new Date(0), 0));
    ledger.use(digest(1));
    for (const entry of entries.slice(1, 2)) ledger.pin(entry);
    expect([...ledger.evictable()].map((entry) => entry.digest)).to.deep.equal([digest(3), digest(4), digest(1)]);
  });

  it('takes reserved room in whole blocks as bytes arrive, and releases all of it', () => {
    const ledger = new Ledger(4 * BLOCK);
    const room = ledger.reserve(3 * BLOCK - 1);
    expect(ledger.bytes).to.equal(0);
    room?.take(1);
    expect([ledger.bytes, room?.missing(BLOCK), room?.missing(BLOCK + 1)]).to.deep.equal([BLOCK, 0, BLOCK]);
    room?.take(3 * BLOCK - 1);
    room?.take(BLOCK);
    expect(ledger.bytes).to.equal(3 * BLOCK);
    room?.release();
    expect([ledger.bytes, admit(ledger, 4 * BLOCK)]).to.deep.equal([0, []]);
  });

  it('reserves no room twice, even if little of it is taken', () => {
    const ledger = new Ledger(4 * BLOCK);
    const room = ledger.reserve(3 * BLOCK);
    expect(ledger.reserve(2 * BLOCK)).to.equal(undefined);
    room?.take(BLOCK);
    expect(ledger.reserve(2 * BLOCK)).to.equal(undefined);
    room?.release();
    expect(ledger.reserve(4 * BLOCK)).not.to.equal(undefined);
  });

  it('reserves no more than the lowered limit, which never exceeds the maximum', () => {
    const ledger = new Ledger(4 * BLOCK);
    ledger.limit = 2 * BLOCK;
    expect(ledger.reserve(3 * BLOCK)).to.equal(undefined);
    ledger.limit = 9 * BLOCK;
    expect([ledger.limit, ledger.maxBytes]).to.deep.equal([4 * BLOCK, 4 * BLOCK]);
    ledger.limit = -1;
    expect(ledger.limit).to.equal(0);
  });

  it('turns a reservation into an entry, or releases it, only once', () => {
    const ledger = new Ledger(4 * BLOCK);
    const [stored, failed] = [ledger.reserve(2 * BLOCK), ledger.reserve(2 * BLOCK)];
    if (stored === undefined || failed === undefined) throw new Error('no room');
    stored.take(2 * BLOCK);
    failed.take(BLOCK);
    expect(stored.commit(digest(1), new Date(0), 0)).to.include({ size: 2 * BLOCK, kept: true });
    expect(ledger.bytes).to.equal(3 * BLOCK);
    failed.release();
    expect([ledger.bytes, ledger.missing(2 * BLOCK)]).to.deep.equal([2 * BLOCK, -2 * BLOCK]);
    for (const room of [stored, failed]) expect(room.release).to.throw('released before');
    expect(() => failed.commit(digest(2), new Date(0), 0)).to.throw('released before');
    expect([ledger.bytes, ledger.entries]).to.deep.equal([2 * BLOCK, 1]);
  });

  it('takes an entry back whose file could not be removed, as the next one to evict', () => {
    const ledger = new Ledger(3 * BLOCK);
    const [first] = [1, 2, 3].map((n) => ledger.add(digest(n), BLOCK, new Date(0), 0)) as [Entry];
    ledger.remove(first);
    ledger.restore(first);
    expect(ledger.bytes).to.equal(3 * BLOCK);
    expect(admit(ledger, BLOCK)).to.deep.equal([digest(1)]);
  });

  it('refuses a reservation for a blob that has no room next to the blobs that are read', () => {
    const ledger = new Ledger(4 * BLOCK);
    ledger.add(digest(1), BLOCK, new Date(0), 0);
    ledger.pin(ledger.add(digest(2), 2 * BLOCK, new Date(0), 0));
    expect(ledger.reserve(3 * BLOCK)).to.equal(undefined);
    expect(ledger.entries).to.equal(2);
  });

  it('counts the bytes of a removed entry until its last reader has left', () => {
    const ledger = new Ledger(4 * BLOCK);
    const entry = ledger.add(digest(1), BLOCK, new Date(0), 0);
    ledger.pin(entry);
    ledger.pin(entry);
    ledger.remove(entry);
    ledger.unpin(entry);
    expect(ledger.bytes).to.equal(BLOCK);
    ledger.unpin(entry);
    expect(ledger.bytes).to.equal(0);
  });

  it('reserves all of its room, to the last byte', () => {
    const ledger = new Ledger(4 * BLOCK);
    expect(admit(ledger, 4 * BLOCK)).to.deep.equal([]);
    expect(admit(ledger, 1)).to.equal(undefined);
  });

  it('has all of its room again when removed blobs have no more readers', () => {
    const ledger = new Ledger(4 * BLOCK);
    const entry = ledger.add(digest(1), 2 * BLOCK, new Date(0), 0);
    ledger.pin(entry);
    ledger.remove(entry);
    ledger.remove(entry);
    expect(ledger.bytes).to.equal(2 * BLOCK);
    const room = ledger.reserve(2 * BLOCK);
    room?.take(2 * BLOCK);
    room?.release();
    ledger.unpin(entry);
    expect(admit(ledger, 4 * BLOCK)).to.deep.equal([]);
  });

  it('has consistent sums after any events in any order', () => {
    const operation = fc.record({
      kind: fc.constantFrom('promise', 'grow', 'commit', 'release', 'use', 'pin', 'unpin', 'remove'),
      blob: fc.nat(5),
    });
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
        const ledger = new Ledger(8 * BLOCK);
        const model = { rooms: [] as { blob: number; room: Room }[], pins: [] as Entry[] };
        const sizeOf = (blob: number): number => (blob + 1) * BLOCK - 7;
        /** False if readers pin the entries that the reservation could evict. */
        const grow = (room: Room, end: number): boolean => {
          for (const entry of ledger.evictable()) {
            if (ledger.bytes + room.missing(end) <= ledger.limit) break;
            ledger.remove(entry);
          }
          if (ledger.bytes + room.missing(end) > ledger.limit) return false;
          room.take(end);
          return true;
        };
        for (const { kind, blob } of operations) {
          const room = kind === 'promise' ? ledger.reserve(sizeOf(blob)) : undefined;
          if (room !== undefined) model.rooms.push({ blob, room });
          const [oldest] = model.rooms;
          if (oldest !== undefined && kind === 'grow') grow(oldest.room, sizeOf(oldest.blob) / 2);
          if (oldest !== undefined && (kind === 'commit' || kind === 'release')) {
            model.rooms.shift();
            const isWhole = kind === 'commit' && grow(oldest.room, sizeOf(oldest.blob));
            oldest.room.release();
            if (isWhole && !ledger.find(digest(oldest.blob))) {
              ledger.add(digest(oldest.blob), sizeOf(oldest.blob), new Date(0), 0);
            }
          }
          const entry = ['use', 'pin', 'remove'].includes(kind) ? ledger.use(digest(blob)) : undefined;
          if (entry !== undefined && kind === 'remove') ledger.remove(entry);
          if (entry !== undefined && kind === 'pin') {
            ledger.pin(entry);
            model.pins.push(entry);
          }
          const pinned = kind === 'unpin' ? model.pins.pop() : undefined;
          if (pinned !== undefined) ledger.unpin(pinned);

          expect(ledger.bytes).to.be.within(0, ledger.maxBytes);
          for (const held of model.pins) if (held.kept) expect(ledger.find(held.digest)).to.equal(held);
        }
        for (const { room } of model.rooms) room.release();
        for (const entry of model.pins) ledger.unpin(entry);
        for (let blob = 0; blob <= 5; blob++) {
          const entry = ledger.use(digest(blob));
          if (entry !== undefined) ledger.remove(entry);
        }
        expect(ledger.bytes).to.equal(0);
      }),
    );
  });
});
