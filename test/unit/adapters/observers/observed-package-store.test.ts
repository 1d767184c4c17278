import { expect } from 'chai';
import { AsyncLocalStorage } from 'node:async_hooks';
import { type ArrivalEvent, ObservedPackageStore } from '../../../../src/adapters/observers/observed-package-store.ts';
import { DigestMismatchError, StoreFullError } from '../../../../src/domain/errors.ts';
import { bytesOf, makePackage } from '../../../support/image.ts';
import { MemoryPackageStore } from '../../../support/memory-package-store.ts';
import { rejection } from '../../../support/rejection.ts';
import { ingest, sourceOf } from '../../../support/source.ts';

const { descriptor, bytes } = makePackage(100_000).layer;

describe('ObservedPackageStore', () => {
  let events: ArrivalEvent[];
  let store: ObservedPackageStore;
  beforeEach(() => {
    events = [];
    store = new ObservedPackageStore(new MemoryPackageStore(200_000), [(event) => events.push(event)]);
  });

  it('tells once when a blob begins to arrive, and once that it is cached', async () => {
    const { settled } = await ingest(store, descriptor, sourceOf(bytes));
    expect(events).to.deep.equal([{ kind: 'begun', blob: descriptor }]);
    await settled;
    expect(events).to.have.lengthOf(2);
    expect(events[1]).to.deep.include({ kind: 'ended', blob: descriptor, error: undefined });
  });

  it('tells why a blob is not cached', async () => {
    const { settled } = await ingest(store, descriptor, sourceOf(bytesOf(100_000, 9)));
    const error = await rejection(settled);
    expect(error).to.be.instanceOf(DigestMismatchError);
    expect(events.at(-1)).to.deep.include({ kind: 'ended', error });
  });

  it('tells nothing of a blob for which there is no room', async () => {
    const refused = await rejection(ingest(store, { ...descriptor, size: 300_000 }, sourceOf(bytes)));
    expect(refused).to.be.instanceOf(StoreFullError);
    expect(events).to.deep.equal([]);
  });

  it('tells of the end in the context of the request that began the arrival', async () => {
    const context = new AsyncLocalStorage<string>();
    const seen: unknown[] = [];
    const observed = new ObservedPackageStore(new MemoryPackageStore(), [() => seen.push(context.getStore())]);
    const { settled } = await context.run('trace', () => ingest(observed, descriptor, sourceOf(bytes)));
    await settled;
    expect(seen).to.deep.equal(['trace', 'trace']);
  });
});
