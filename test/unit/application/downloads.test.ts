import { expect } from 'chai';
import sinon from 'sinon';
import { DownloadSlots } from '../../../src/application/download-slots.ts';
import { Downloads, type WantedLayer } from '../../../src/application/downloads.ts';
import { PassThroughs } from '../../../src/application/pass-throughs.ts';
import { StoreFullError, TooManyDownloadsError, UpstreamUnavailableError } from '../../../src/domain/errors.ts';
import { DEFAULT_REPOSITORY } from '../../../src/domain/reference.ts';
import type { BlobReader, PackageStore } from '../../../src/domain/ports/package-store.ts';
import { parseUpstream } from '../../../src/domain/upstream.ts';
import { makePackage, type TestImage } from '../../support/image.ts';
import { MemoryPackageStore } from '../../support/memory-package-store.ts';
import { UPSTREAM } from '../../support/ports.ts';
import { rejection } from '../../support/rejection.ts';
import { HeldSource, readAll } from '../../support/source.ts';

const image = makePackage(200_000);
const never = new AbortController().signal;

describe('Downloads', () => {
  let slots: DownloadSlots;
  let downloads: Downloads;
  let clock: sinon.SinonFakeTimers;
  beforeEach(() => {
    clock = sinon.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    slots = new DownloadSlots({ max: 1, graceMs: 5000, maxWaitMs: 8000 });
    downloads = downloadsInto(new MemoryPackageStore());
  });
  afterEach(() => {
    clock.restore();
  });

  function downloadsInto(store: PackageStore): Downloads {
    return new Downloads({ slots, store, stopping: never, passThroughs: new PassThroughs({ slots, stopping: never }) });
  }

  async function begin(want: WantedLayer): Promise<BlobReader> {
    return (await downloads.begin(want)).blob;
  }

  function wanted(of: TestImage, held: HeldSource, more: Partial<WantedLayer> = {}): WantedLayer {
    return {
      request: { digest: of.digest, repository: DEFAULT_REPOSITORY, path: undefined },
      layer: of.layer.descriptor,
      registry: UPSTREAM.registry,
      leaving: never,
      open: async (_offset, signal) => untilAborted(await held.source(), signal),
      ...more,
    };
  }

  it('joins only a download of the same registry and the same size', async () => {
    const held = new HeldSource();
    const want = wanted(image, held);
    const { layer } = want;
    const first = begin(want);
    const { registry } = parseUpstream({ repo: 'registry.example/deckhouse' });
    expect(downloads.join({ ...want, registry })).to.equal(undefined);
    expect(downloads.join({ ...want, layer: { ...layer, size: layer.size + 1 } })).to.equal(undefined);
    expect(downloads.find(layer, registry)).to.equal(undefined);
    expect(downloads.isArriving(layer)).to.equal(true);
    const second = downloads.join(want);
    held.give(image.layer.bytes).end();
    for (const reader of [await first, await second]) {
      if (reader === undefined) throw new Error('not joined');
      expect(Buffer.compare(await readAll(reader), image.layer.bytes)).to.equal(0);
    }
    expect(downloads.isArriving(layer)).to.equal(false);
    expect(slots.usage.running).to.equal(0);
  });

  it('keeps two registries apart that deliver the same layer', async () => {
    slots = new DownloadSlots({ max: 4 });
    downloads = downloadsInto(new MemoryPackageStore());
    const { registry } = parseUpstream({ repo: 'stalls.example/x' });
    const stalled = new HeldSource();
    const slow = await begin(wanted(image, stalled, { registry }));
    const want = wanted(image, new HeldSource().give(image.layer.bytes).end());
    expect(Buffer.compare(await readAll(await begin(want)), image.layer.bytes)).to.equal(0);
    expect(downloads.list().map(({ clients }) => clients)).to.deep.equal([1]);
    expect(downloads.find(want.layer, want.registry)).to.equal(undefined);
    expect(downloads.find(want.layer, registry)?.isQueued).to.equal(false);
    await slow.close();
    stalled.fail(new UpstreamUnavailableError());
  });

  it('ends a download without clients when another one waits, and not before', async () => {
    const held = new HeldSource().give(image.layer.bytes.subarray(0, 1000));
    const reader = await begin(wanted(image, held));
    await reader.close();
    await clock.tickAsync(60_000);
    expect(downloads.isArriving(image.layer.descriptor)).to.equal(true);
    const other = makePackage(1000, 2);
    const next = await begin(wanted(other, new HeldSource().give(other.layer.bytes).end()));
    expect(downloads.isArriving(image.layer.descriptor)).to.equal(false);
    expect(await readAll(next)).to.have.lengthOf(1000);
    held.end();
    expect(slots.usage).to.include({ revoked: 1, running: 0 });
  });

  it('continues a download whose client has left while another client reads it', async () => {
    const held = new HeldSource().give(image.layer.bytes);
    const want = wanted(image, held);
    const [first, second] = [await begin(want), await downloads.join(want)];
    await first.close();
    await first.close();
    expect(slots.usage.idle).to.equal(0);
    expect(downloads.list()[0]?.clients).to.equal(1);
    await second?.close();
    expect(slots.usage.idle).to.equal(1);
    held.end();
  });

  it('drops a queued download with its last client, and begins it for the clients that stay', async () => {
    const held = new HeldSource();
    const running = await begin(wanted(image, held));
    const other = makePackage(1000, 2);
    const source = new HeldSource().give(other.layer.bytes).end();
    const [leaving, staying] = [new AbortController(), new AbortController()];
    const want = wanted(other, source, { leaving: leaving.signal });
    const left = rejection(begin(want));
    const stays = downloads.join({ ...want, leaving: staying.signal });
    expect(downloads.find(other.layer.descriptor, UPSTREAM.registry)).to.include({ isQueued: true, clients: 2 });
    const reason = new Error('left');
    leaving.abort(reason);
    expect(slots.usage.queued).to.equal(1);
    held.give(image.layer.bytes).end();
    await readAll(running);
    expect(await readAll((await stays) ?? running)).to.have.lengthOf(1000);
    expect(await left).to.equal(reason);

    const third = makePackage(1000, 3);
    const blocking = await begin(wanted(image, new HeldSource()));
    expect(await rejection(begin(wanted(third, source, { leaving: leaving.signal })))).to.equal(reason);
    const alone = rejection(begin(wanted(third, source, { leaving: staying.signal })));
    staying.abort(reason);
    expect(await alone).to.equal(reason);
    expect([slots.usage.queued, downloads.isArriving(third.layer.descriptor)]).to.deep.equal([0, false]);
    expect(source.opened).to.equal(1);
    await blocking.close();
  });

  it('takes the room of a download that would hold it for ever, whose client still gets the whole package', async () => {
    slots = new DownloadSlots({ max: 4 });
    downloads = downloadsInto(new MemoryPackageStore(250_000));
    const other = makePackage(100_000, 2);
    const next = (): Promise<BlobReader> => begin(wanted(other, new HeldSource().give(other.layer.bytes).end()));
    const held = new HeldSource().give(image.layer.bytes.subarray(0, 1000));
    const slow = await begin(wanted(image, held));
    await slow.read(0);
    expect(await rejection(next())).to.be.instanceOf(StoreFullError);
    // 2 s ago it had no byte, so it might still be fast.
    await clock.tickAsync(2000);
    await rejection(next());
    held.give(image.layer.bytes.subarray(1000, 2000));
    await slow.read(1000);
    await clock.tickAsync(10_000);
    await rejection(next());
    held.give(image.layer.bytes.subarray(2000)).end();
    expect(Buffer.compare(await readAll(slow), image.layer.bytes)).to.equal(0);
    expect(await readAll(await next())).to.have.lengthOf(100_000);
    expect(slots.usage.running).to.equal(0);
  });

  it('ends a download without clients that holds room for longer than a few seconds, and no other one', async () => {
    slots = new DownloadSlots({ max: 4 });
    const other = makePackage(100_000, 2);
    for (const [perTick, isEnded] of [
      [10_000, true],
      [100_000, false],
    ] as const) {
      downloads = downloadsInto(new MemoryPackageStore(250_000));
      const held = new HeldSource();
      const reader = begin(wanted(image, held));
      held.give(image.layer.bytes.subarray(0, 10_000));
      await (await reader).close();
      await clock.tickAsync(6000);
      held.give(image.layer.bytes.subarray(10_000, 10_000 + perTick));
      await clock.tickAsync(1);
      await rejection(begin(wanted(other, new HeldSource())));
      held.give(image.layer.bytes.subarray(10_000 + perTick, 150_000));
      await clock.tickAsync(1);
      expect(downloads.isArriving(image.layer.descriptor)).to.equal(!isEnded);
      held.end();
    }
  });

  it('tells all clients when the queue is too long for them', async () => {
    await begin(wanted(image, new HeldSource()));
    const want = wanted(makePackage(1000, 2), new HeldSource());
    const outcomes = [begin(want), downloads.join(want)].map((each) => rejection(each ?? Promise.resolve()));
    await clock.tickAsync(8000);
    for (const error of await Promise.all(outcomes)) expect(error).to.be.instanceOf(TooManyDownloadsError);
    expect(downloads.list()).to.have.lengthOf(1);
  });
});

async function* untilAborted(chunks: AsyncIterable<Uint8Array>, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const aborted = new Promise<never>((_resolve, reject) => {
    signal.addEventListener('abort', () => {
      reject(signal.reason as Error);
    });
  });
  aborted.catch(() => undefined);
  const iterator = chunks[Symbol.asyncIterator]();
  for (;;) {
    const next = await Promise.race([iterator.next(), aborted]);
    if (next.done === true) return;
    yield next.value;
  }
}
