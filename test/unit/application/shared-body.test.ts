import { expect } from 'chai';
import sinon from 'sinon';
import { BLOCK_BYTES } from '../../../src/application/block-window.ts';
import type { Descriptor } from '../../../src/domain/descriptor.ts';
import { DownloadSlots } from '../../../src/application/download-slots.ts';
import { PassThroughs } from '../../../src/application/pass-throughs.ts';
import { DigestMismatchError, TooManyDownloadsError, UpstreamUnavailableError } from '../../../src/domain/errors.ts';
import type { BlobReader } from '../../../src/domain/ports/package-store.ts';
import { type Registry, parseUpstream } from '../../../src/domain/upstream.ts';
import { bytesOf, makeBlob } from '../../support/image.ts';
import { UPSTREAM } from '../../support/ports.ts';
import { rejection } from '../../support/rejection.ts';
import { chunksOf, HeldSource, readAll } from '../../support/source.ts';

const MIB = 1024 * 1024;
const never = new AbortController().signal;
const blob = makeBlob('application/octet-stream', bytesOf(4 * MIB + 12_345));

describe('SharedBody', () => {
  let passThroughs: PassThroughs;
  let slots: DownloadSlots;
  /** Offsets of the downloads that were begun. */
  let begun: number[];
  /** The bytes that the registry sends instead of the blob, by the number of the download. */
  let forged: Map<number, Uint8Array>;
  let clock: sinon.SinonFakeTimers;
  beforeEach(() => {
    clock = sinon.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'], shouldAdvanceTime: true });
    begun = [];
    forged = new Map();
    over(8);
  });
  afterEach(() => {
    clock.restore();
  });

  function over(max: number): void {
    slots = new DownloadSlots({ max, graceMs: 5000, maxWaitMs: 8000 });
    passThroughs = new PassThroughs({ slots, stopping: never });
  }

  function open(
    registry: Registry = UPSTREAM.registry,
    leaving = never,
    layer: Descriptor = blob.descriptor,
  ): Promise<BlobReader> {
    return passThroughs.open({
      layer,
      registry,
      leaving,
      open: async (offset, signal) => {
        const bytes = forged.get(begun.push(offset)) ?? blob.bytes;
        return untilAborted(chunksOf(bytes.subarray(offset), 300_000), signal);
      },
    });
  }

  /** Reads up to `end` as a client does; resolves with the reached offset. */
  async function readTo(reader: BlobReader, end: number, start = 0): Promise<number> {
    let at = start;
    while (at < end) {
      const bytes = await reader.read(at);
      expect(Buffer.compare(bytes, blob.bytes.subarray(at, at + bytes.byteLength))).to.equal(0);
      at += bytes.byteLength;
    }
    return at;
  }

  /** Lets the fake time pass until the work is done. */
  async function ticking(work: Promise<unknown>): Promise<void> {
    const state = { isDone: false };
    const end = (): void => {
      state.isDone = true;
    };
    work.then(end, end);
    while (!state.isDone) await clock.tickAsync(10);
    await work;
  }

  const rest = async (reader: BlobReader, at: number): Promise<Buffer> => readAll(reader, at);

  it('downloads once for all readers that join before its window has moved', async () => {
    const readers = await Promise.all(Array.from({ length: 10 }, () => open()));
    const leaver = await open();
    await readTo(leaver, 100_000);
    await leaver.close();
    const late = await open();
    const bodies = await Promise.all([...readers, late].map((reader) => readAll(reader)));
    for (const body of bodies) expect(Buffer.compare(body, blob.bytes)).to.equal(0);
    expect(begun).to.deep.equal([0]);
    expect(slots.usage.running).to.equal(0);
  });

  it('keeps its first block for a moment for clients that join a little later', async () => {
    const first = await open();
    const reading = readAll(first);
    await clock.tickAsync(100);
    const second = await open();
    const bodies = await Promise.all([reading, readAll(second)]);
    for (const body of bodies) expect(Buffer.compare(body, blob.bytes)).to.equal(0);
    expect(begun).to.deep.equal([0]);
  });

  /** Opens a reader of a blob of its own, and counts the bytes that arrive. */
  async function counted(
    content = blob,
    received = { bytes: 0 },
  ): Promise<{ reader: BlobReader; received: { bytes: number } }> {
    const count = async function* (): AsyncGenerator<Uint8Array> {
      for await (const chunk of chunksOf(content.bytes, 10_000)) {
        received.bytes += chunk.byteLength;
        yield chunk;
      }
    };
    const passed = { layer: content.descriptor, registry: UPSTREAM.registry, leaving: never };
    return { reader: await passThroughs.open({ ...passed, open: async () => count() }), received };
  }

  it('is at most two blocks ahead of its fastest reader', async () => {
    const { reader, received } = await counted();
    const at = await readTo(reader, 100_000);
    await clock.tickAsync(60_000);
    expect(received.bytes).to.be.within(at, at + 2 * BLOCK_BYTES + 10_000);
    await reader.close();
  });

  it('is read to its end for a reader that waits for the verification while another one stalls', async () => {
    const [stalled, verifying] = [await open(), await open()];
    await readTo(stalled, 100);
    await ticking(verifying.read(blob.descriptor.size));
    expect(begun).to.deep.equal([0]);
    await Promise.all([stalled.close(), verifying.close()]);
  });

  describe('limits the memory of all bodies', () => {
    const small = Array.from({ length: 300 }, (_, index) => makeBlob('a/b', bytesOf(120_000 + index)));

    it('to one block for each, and 2 MiB for all, while no reader reads', async () => {
      over(1000);
      const bodies = await Promise.all(small.map((one) => counted(one)));
      await clock.tickAsync(1000);
      const received = bodies.reduce((sum, one) => sum + one.received.bytes, 0);
      expect(received).to.be.at.most(300 * (BLOCK_BYTES + 10_000) + 2 * MIB);
      const contents = await Promise.all(bodies.map(({ reader }) => readAll(reader)));
      for (const [index, content] of contents.entries()) {
        expect(Buffer.compare(content, small[index]?.bytes ?? new Uint8Array())).to.equal(0);
      }
      expect(slots.usage.running).to.equal(0);
    });

    it('and lets a reader continue at once while others hold all of it', async () => {
      over(1000);
      const stalled = await Promise.all(small.map((one) => counted(one)));
      await clock.tickAsync(1000);
      const reader = await open();
      const reading = readAll(reader);
      await ticking(reading);
      expect(Buffer.compare(await reading, blob.bytes)).to.equal(0);
      await Promise.all(stalled.map((one) => one.reader.close()));
      // Their blocks are free again: a body fills its window.
      const [fast, slow] = [await open(), await open()];
      const at = await readTo(fast, MIB - BLOCK_BYTES);
      expect(await readTo(slow, at)).to.equal(at);
      await Promise.all([fast.close(), slow.close()]);
    });

    it('and does not reuse the memory of a block while a reader holds it', async () => {
      const holder = await open();
      const held = await holder.read(0);
      const before = Buffer.from(held);
      for (let round = 0; round < 3; round++) await readAll(await open());
      expect(Buffer.compare(held, before)).to.equal(0);
      await holder.close();
    });
  });

  it('waits for a slightly slower reader, and not for one that stalls', async () => {
    const [fast, steady, stalled] = [await open(), await open(), await open()];
    const reading = readTo(fast, blob.descriptor.size);
    const pacing = (async () => {
      let at = 0;
      while (at < blob.descriptor.size) {
        at = await readTo(steady, at + 1, at);
        await new Promise((resolve) => setTimeout(resolve, 60));
      }
    })();
    await ticking(Promise.all([reading, pacing]));
    expect(begun).to.deep.equal([0]);
    expect(Buffer.compare(await readAll(stalled), blob.bytes)).to.equal(0);
    expect(begun).to.deep.equal([0, 0]);
    await Promise.all([fast.close(), steady.close()]);
  });

  it('lets a reader that was left behind continue with its own download of the rest', async () => {
    const [fast, slow] = [await open(), await open()];
    const at = await readTo(slow, 400_000);
    const reading = readAll(fast);
    await clock.tickAsync(2000);
    await reading;
    expect(Buffer.compare(await rest(slow, at), blob.bytes.subarray(at))).to.equal(0);
    expect(begun).to.deep.equal([0, at - (at % 65_536)]);
  });

  it('completes no body with one right half and one wrong half', async () => {
    const other = blob.bytes.map((byte, index) => (index < 300_000 ? byte ^ 1 : byte));
    forged.set(1, other);
    const [fast, slow] = [await open(), await open()];
    let at = 0;
    while (at < 400_000) at += (await slow.read(at)).byteLength;
    const failing = rejection(readAll(fast));
    await clock.tickAsync(2000);
    expect(await failing).to.be.instanceOf(DigestMismatchError);
    expect(await rejection(rest(slow, at))).to.be.instanceOf(DigestMismatchError);
    expect(begun).to.have.lengthOf(2);
  });

  it('shares nothing between registries', async () => {
    const readers = [await open(), await open(parseUpstream({ repo: 'other.example/x' }).registry)];
    await Promise.all(readers.map((reader) => readAll(reader)));
    expect(begun).to.deep.equal([0, 0]);
  });

  it('shares nothing with a manifest with another size', async () => {
    const right = await open();
    const wrong = await open(undefined, undefined, { ...blob.descriptor, size: blob.descriptor.size - 1 });
    expect(begun).to.deep.equal([0, 0]);
    expect(await rejection(readAll(wrong))).to.be.instanceOf(DigestMismatchError);
    expect(Buffer.compare(await readAll(right), blob.bytes)).to.equal(0);
  });

  it('rejects all readers with the cause when the download fails', async () => {
    const held = new HeldSource().give(blob.bytes.subarray(0, 200_000));
    const pass = { layer: blob.descriptor, registry: UPSTREAM.registry, leaving: never, open: held.source };
    const readers = [await passThroughs.open(pass), await passThroughs.open(pass)];
    const outcomes = readers.map((reader) => rejection(readAll(reader)));
    const reason = new UpstreamUnavailableError();
    held.fail(reason);
    expect(await Promise.all(outcomes)).to.deep.equal([reason, reason]);
    expect(held.opened).to.equal(1);
    expect(slots.usage.running).to.equal(0);
  });

  it('gives its slot to a waiting download when all its readers stall, and continues when they read', async () => {
    over(1);
    const reader = await open();
    const at = await readTo(reader, 200_000);
    const other = slots.acquire(UPSTREAM.registry, never);
    await clock.tickAsync(5000);
    const slot = await other;
    expect(slots.usage).to.include({ running: 1, revoked: 1 });
    const reading = rest(reader, at);
    await clock.tickAsync(1000);
    slot.release();
    expect(Buffer.compare(await reading, blob.bytes.subarray(at))).to.equal(0);
    expect(begun).to.have.lengthOf(2);
  });

  it('rejects a reader that does not get a slot again in time', async () => {
    over(1);
    const reader = await open();
    const at = await readTo(reader, 200_000);
    const other = slots.acquire(UPSTREAM.registry, never);
    await clock.tickAsync(5000);
    const slot = await other;
    const outcome = rejection(readTo(reader, blob.descriptor.size, at));
    await clock.tickAsync(8000);
    expect(await outcome).to.be.instanceOf(TooManyDownloadsError);
    await reader.close();
    slot.release();
  });

  it('leaves the queue with the client that waits for a slot', async () => {
    over(1);
    const slot = await slots.acquire(UPSTREAM.registry, never);
    const leaving = new AbortController();
    const outcome = rejection(open(UPSTREAM.registry, leaving.signal));
    const reason = new Error('left');
    leaving.abort(reason);
    expect(await outcome).to.equal(reason);
    expect([slots.usage.queued, begun]).to.deep.equal([0, []]);
    slot.release();
  });
});

async function* untilAborted(chunks: AsyncIterable<Uint8Array>, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    signal.throwIfAborted();
    yield chunk;
    signal.throwIfAborted();
  }
}
