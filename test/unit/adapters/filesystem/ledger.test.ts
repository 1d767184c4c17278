import { expect } from 'chai';
import fc from 'fast-check';
import { allocated, type Entry, Ledger } from '../../../../src/adapters/filesystem/ledger.ts';
import { digestOf } from '../../../../src/domain/digest.ts';

const digest = (n: number) => digestOf(Uint8Array.of(n));
const BLOCK = 4096;

describe('Ledger', () => {
  it('counts whole blocks, as the volume does', () => {
    expect([0, 1, BLOCK, BLOCK + 1].map(allocated)).to.deep.equal([0, BLOCK, BLOCK, 2 * BLOCK]);
  });

  it('evicts no more than a reservation needs, the least recently used first', () => {
    const ledger = new Ledger(4 * BLOCK);
    for (const n of [1, 2, 3, 4]) ledger.add(digest(n), BLOCK, new Date(0), 0);
    ledger.use(digest(1));
    expect(ledger.reserve(2 * BLOCK)?.map((entry) => entry.digest)).to.deep.equal([digest(2), digest(3)]);
    expect(ledger.bytes).to.equal(4 * BLOCK);
  });

  it('takes back what could not leave, as the next to leave', () => {
    const ledger = new Ledger(3 * BLOCK);
    for (const n of [1, 2, 3]) ledger.add(digest(n), BLOCK, new Date(0), 0);
    const evicted = ledger.reserve(2 * BLOCK) ?? [];
    ledger.restore(evicted);
    ledger.release(2 * BLOCK);
    expect(ledger.bytes).to.equal(3 * BLOCK);
    expect(ledger.reserve(BLOCK)?.map((entry) => entry.digest)).to.deep.equal([digest(1)]);
  });

  it('evicts nobody for what cannot fit all the same', () => {
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

  it('gives all of its room, to the last byte', () => {
    const ledger = new Ledger(4 * BLOCK);
    expect(ledger.reserve(4 * BLOCK)).to.deep.equal([]);
    expect(ledger.reserve(1)).to.equal(undefined);
  });

  it('has all of its room again when what was removed under its readers is read no more', () => {
    const ledger = new Ledger(4 * BLOCK);
    const entry = ledger.add(digest(1), 2 * BLOCK, new Date(0), 0);
    ledger.pin(entry);
    ledger.remove(entry);
    ledger.remove(entry);
    expect(ledger.bytes).to.equal(2 * BLOCK);
    expect(ledger.reserve(2 * BLOCK)).to.deep.equal([]);
    ledger.release(2 * BLOCK);
    ledger.unpin(entry);
    expect(ledger.reserve(4 * BLOCK)).to.deep.equal([]);
  });

  it('adds up, whatever happens in whatever order', () => {
    const operation = fc.record({
      kind: fc.constantFrom('reserve', 'commit', 'release', 'use', 'pin', 'unpin', 'remove'),
      blob: fc.nat(5),
    });
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
        const ledger = new Ledger(8 * BLOCK);
        const model = { reserved: [] as number[], pins: [] as Entry[] };
        const sizeOf = (blob: number): number => (blob + 1) * BLOCK - 7;
        for (const { kind, blob } of operations) {
          if (kind === 'reserve' && ledger.reserve(sizeOf(blob)) !== undefined) model.reserved.push(blob);
          const reserved = model.reserved[0];
          if (reserved !== undefined && (kind === 'commit' || kind === 'release')) {
            model.reserved.shift();
            ledger.release(sizeOf(reserved));
            if (kind === 'commit' && !ledger.find(digest(reserved))) {
              ledger.add(digest(reserved), sizeOf(reserved), new Date(0), 0);
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
        for (const blob of model.reserved) ledger.release(sizeOf(blob));
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
