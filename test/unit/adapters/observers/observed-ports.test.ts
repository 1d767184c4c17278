import { expect } from 'chai';
import { AsyncLocalStorage } from 'node:async_hooks';
import {
  type ArrivalEvent,
  observedIcons,
  ObservedPackageStore,
  ObservedRegistryGateway,
  type UpstreamEvent,
} from '../../../../src/adapters/observers/observed-ports.ts';
import { IconError, type IconRequest } from '../../../../src/application/get-icon.ts';
import { DigestMismatchError, StoreFullError, UpstreamUnavailableError } from '../../../../src/domain/errors.ts';
import { DEFAULT_REPOSITORY, parseRepositoryPath } from '../../../../src/domain/reference.ts';
import { bytesOf, makePackage } from '../../../support/image.ts';
import { MemoryPackageStore } from '../../../support/memory-package-store.ts';
import { rejection } from '../../../support/rejection.ts';
import { HeldSource, ingest, sourceOf } from '../../../support/source.ts';
import { stubGateway, UPSTREAM } from '../../../support/ports.ts';

const { descriptor: layer, bytes: layerBytes } = makePackage(100_000).layer;

describe('ObservedPackageStore', () => {
  let events: ArrivalEvent[];
  let store: ObservedPackageStore;
  beforeEach(() => {
    events = [];
    store = new ObservedPackageStore(new MemoryPackageStore(200_000), [(event) => events.push(event)]);
  });

  it('reports once that a blob begins to arrive, and once that it is cached', async () => {
    const { settled } = await ingest(store, layer, sourceOf(layerBytes));
    expect(events).to.deep.equal([{ kind: 'begun', blob: layer }]);
    await settled;
    expect(events).to.have.lengthOf(2);
    expect(events[1]).to.deep.include({ kind: 'ended', blob: layer, error: undefined });
  });

  it('reports why a blob is not cached', async () => {
    const { settled } = await ingest(store, layer, sourceOf(bytesOf(100_000, 9)));
    const error = await rejection(settled);
    expect(error).to.be.instanceOf(DigestMismatchError);
    expect(events.at(-1)).to.deep.include({ kind: 'ended', error });
  });

  it('reports nothing for a blob without room', async () => {
    const refused = await rejection(ingest(store, { ...descriptor, size: 300_000 }, sourceOf(layerBytes)));
    expect(refused).to.be.instanceOf(StoreFullError);
    expect(events).to.deep.equal([]);
  });

  it('reports the end in the context of the request that began the arrival', async () => {
    const context = new AsyncLocalStorage<string>();
    const seen: unknown[] = [];
    const observed = new ObservedPackageStore(new MemoryPackageStore(), [() => seen.push(context.getStore())]);
    const { settled } = await context.run('trace', () => ingest(observed, layer, sourceOf(layerBytes)));
    await settled;
    expect(seen).to.deep.equal(['trace', 'trace']);
  });
});

const image = makePackage(100_000);
const { descriptor } = image.layer;

describe('ObservedRegistryGateway', () => {
  const inner = stubGateway(image);
  let events: UpstreamEvent[];
  let gateway: ObservedRegistryGateway;
  beforeEach(() => {
    events = [];
    gateway = new ObservedRegistryGateway(inner, [(event) => events.push(event)]);
  });

  async function drain(chunks: AsyncIterable<Uint8Array>): Promise<void> {
    for await (const chunk of chunks) expect(chunk.byteLength).to.be.greaterThan(0);
  }

  it('reports each request once, with all bytes of its answer', async () => {
    const { signal } = new AbortController();
    await gateway.fetchManifest(UPSTREAM, image.digest, signal);
    await drain(await gateway.fetchBlob(UPSTREAM, descriptor, 40_000, signal));
    const answered = events.filter(({ kind }) => kind === 'answered');
    expect(answered.map(({ question }) => question)).to.deep.equal([
      { operation: 'manifest', upstream: UPSTREAM, digest: image.digest, offset: 0, place: 'registry' },
      { operation: 'blob', upstream: UPSTREAM, digest: descriptor.digest, offset: 40_000, place: 'registry' },
    ]);
    const bytes = events.reduce((sum, event) => sum + (event.kind === 'received' ? event.bytes : 0), 0);
    expect(bytes).to.equal(60_000);
  });

  it('reports an answer that breaks off, and whether its reader had left', async () => {
    for (const isAbandoned of [false, true]) {
      const leaving = new AbortController();
      const error = new UpstreamUnavailableError();
      const held = new HeldSource().give(bytesOf(5000)).fail(error);
      inner.fetchBlob.onCall(inner.fetchBlob.callCount).callsFake(() => held.source());
      const chunks = await gateway.fetchBlob(UPSTREAM, descriptor, 0, leaving.signal);
      if (isAbandoned) leaving.abort();
      await rejection(drain(chunks));
      expect(events.at(-1)).to.deep.include({ kind: 'broken', error, isAbandoned });
    }
  });
});

describe('observedIcons', () => {
  it('reports a failure with the reason of its step, and no successful icon', async () => {
    const request: IconRequest = {
      repository: DEFAULT_REPOSITORY,
      package: parseRepositoryPath('a'),
      version: undefined,
    };
    const icon = { name: 'docs/icon.svg', bytes: bytesOf(3), manifest: layer.digest } as const;
    const wrong = new DigestMismatchError('sha256:a', 'sha256:b');
    const answers = [() => Promise.resolve(icon), () => Promise.reject(new IconError('image', wrong))];
    const told: unknown[] = [];
    const icons = observedIcons({ execute: () => (answers.shift() as () => Promise<typeof icon>)() }, [
      (event) => told.push(event),
    ]);
    expect(await icons.execute(request)).to.equal(icon);
    expect(await rejection(icons.execute(request))).to.be.instanceOf(IconError);
    expect(told).to.deep.equal([{ kind: 'failed', error: wrong }]);
  });
});
