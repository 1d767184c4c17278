import { expect } from 'chai';
import type { Upload } from '../../../../src/adapters/registry/transport/http-message.ts';
import type { ObjectState } from '../../../../src/adapters/s3/s3-bucket.ts';
import { WriteBehind, type WriteEvent } from '../../../../src/adapters/s3/write-behind.ts';
import { type Descriptor, type Digest, digestOf } from '../../../../src/domain/descriptor.ts';
import { DigestMismatchError } from '../../../../src/domain/errors.ts';
import { eventually } from '../../../support/eventually.ts';
import { bytesOf, makeBlob } from '../../../support/image.ts';
import { MemoryPackageStore } from '../../../support/memory-package-store.ts';
import { chunksOf, ingest, sourceOf } from '../../../support/source.ts';

/** A bucket that a test can inspect and delay. */
class HeldBucket {
  readonly objects = new Map<Digest, Uint8Array>();
  readonly asked: string[] = [];
  state: ObjectState | Error = 'absent';
  /** A PUT waits for this, or for the end of its signal. */
  gate: Promise<void> = Promise.resolve();
  puts = 0;

  async stateOf(digest: Digest): Promise<ObjectState> {
    this.asked.push(`HEAD ${digest}`);
    if (this.state instanceof Error) throw this.state;
    return this.state;
  }

  async put(digest: Digest, { open }: Upload, signal: AbortSignal): Promise<void> {
    this.puts++;
    this.asked.push(`PUT ${digest}`);
    const ended = new Promise<never>((_resolve, reject) => {
      signal.addEventListener('abort', () => {
        reject(signal.reason as Error);
      });
    });
    await Promise.race([this.gate, ended]);
    const chunks: Uint8Array[] = [];
    for await (const chunk of open()) chunks.push(new Uint8Array(chunk));
    this.objects.set(digest, Buffer.concat(chunks));
  }
}

const repairBy = (bytes: Uint8Array, size: number | undefined = bytes.byteLength) => ({
  size,
  fetch: async () => ({ size: bytes.byteLength, open: () => chunksOf(bytes, 400) }),
});

describe('WriteBehind', () => {
  let bucket: HeldBucket;
  let store: MemoryPackageStore;
  let events: WriteEvent[];
  let healed: Digest[];
  let writer: WriteBehind;
  beforeEach(() => {
    bucket = new HeldBucket();
    store = new MemoryPackageStore(100_000_000);
    events = [];
    healed = [];
    writer = new WriteBehind({
      bucket,
      store,
      onWrite: (event) => events.push(event),
      onHealed: (digest) => healed.push(digest),
    });
  });
  afterEach(() => writer.stop());

  const cache = async (size: number, seed = 1): Promise<Descriptor> => {
    const { descriptor, bytes } = makeBlob('application/octet-stream', bytesOf(size, seed));
    await (
      await ingest(store, descriptor, sourceOf(bytes))
    ).settled;
    return descriptor;
  };
  const arrive = (blob: Descriptor, error?: unknown): void => {
    writer.observeArrival({ kind: 'ended', blob, error });
  };
  const results = (...expected: WriteEvent['result'][]): Promise<void> =>
    eventually(async () => expect(events.map(({ result }) => result)).to.deep.equal(expected));

  it('writes the exact bytes of a cached blob, and no blob that is not cached', async () => {
    const blob = await cache(3_000_001);
    writer.observeArrival({ kind: 'begun', blob });
    arrive({ ...blob, digest: digestOf(Buffer.from('another')) }, new Error('broken'));
    arrive(blob);
    await results('written');
    expect(digestOf(bucket.objects.get(blob.digest) ?? Buffer.alloc(0))).to.equal(blob.digest);
    expect(bucket.objects.size).to.equal(1);
    expect(writer.queued).to.equal(0);
  });

  it('keeps a right object, and replaces a wrong one', async () => {
    const blob = await cache(1000);
    bucket.state = 'there';
    arrive(blob);
    await results('there');
    expect(bucket.puts).to.equal(0);
    bucket.state = 'other';
    writer.observeObject(blob.digest, false);
    arrive(blob);
    await results('there', 'written');
    expect(healed).to.deep.equal([blob.digest]);
  });

  it('sends no request for an object that it has seen in the bucket, until the object is missing', async () => {
    const blob = await cache(1000);
    writer.observeObject(blob.digest, true);
    arrive(blob);
    expect(writer.queued).to.equal(0);
    writer.observeObject(blob.digest, false);
    arrive(blob);
    await results('written');
  });

  it('replaces an object with wrong bytes, even if the server reports the right checksum', async () => {
    const blob = await cache(1000);
    bucket.state = 'there';
    writer.observeObject(blob.digest, true);
    writer.distrust(blob.digest, repairBy(bytesOf(1000, 1)));
    arrive(blob);
    await results('written');
    expect(bucket.asked).to.deep.equal([`PUT ${blob.digest}`]);
    expect(healed).to.deep.equal([blob.digest]);
    arrive(blob);
    expect(writer.queued).to.equal(0);
  });

  it('requests no repair if the cache will have the blob', async () => {
    writer.distrust(digestOf(bytesOf(10)), { size: 10, fetch: () => Promise.reject(new Error('asked')) });
    expect(writer.queued).to.equal(0);
  });

  describe('without a cache', () => {
    beforeEach(() => {
      writer = new WriteBehind({
        bucket,
        store: undefined,
        onWrite: (event) => events.push(event),
        onHealed: (digest) => healed.push(digest),
      });
    });

    it('replaces a wrong object with content of the registry, also if its size is unknown', async () => {
      const [layer, manifest] = [bytesOf(1000, 3), bytesOf(900, 4)];
      writer.distrust(digestOf(layer), repairBy(layer));
      writer.distrust(digestOf(manifest), repairBy(manifest, undefined));
      await results('written', 'written');
      for (const bytes of [layer, manifest]) {
        expect(Buffer.compare(bucket.objects.get(digestOf(bytes)) ?? Buffer.alloc(0), bytes)).to.equal(0);
      }
      expect(healed).to.deep.equal([digestOf(layer), digestOf(manifest)]);
    });

    it('writes no object with wrong bytes', async () => {
      const wanted = digestOf(bytesOf(1000, 5));
      writer.distrust(wanted, repairBy(bytesOf(1000, 6)));
      await results('failed');
      expect(events[0]?.error).to.be.instanceOf(DigestMismatchError);
      expect(bucket.objects.size).to.equal(0);
      expect(healed).to.deep.equal([]);
    });

    it('fails a repair without a source of the content, and runs the next one', async () => {
      const right = bytesOf(100, 7);
      writer.distrust(digestOf(bytesOf(5)), { size: 5, fetch: () => Promise.reject(new Error('gone')) });
      writer.distrust(digestOf(right), repairBy(right));
      await results('failed', 'written');
    });
  });

  it('writes one at a time, lets 64 wait, and drops more', async () => {
    const held = Promise.withResolvers<undefined>();
    bucket.gate = held.promise;
    const blobs = await Promise.all(Array.from({ length: 66 }, (_, seed) => cache(100, seed + 1)));
    blobs.forEach((blob) => {
      arrive(blob);
    });
    // A second arrival of one that waits is the same write.
    arrive(blobs[3] ?? makeBlob('x', bytesOf(1)).descriptor);
    expect(writer.queued).to.equal(64);
    await results('dropped', 'dropped');
    await eventually(async () => expect(bucket.puts).to.equal(1));
    held.resolve(undefined);
    await eventually(async () => expect(bucket.objects.size).to.equal(64));
  });

  it('counts a failure with its error, and goes on', async () => {
    bucket.state = new Error('no bucket');
    arrive(await cache(1000));
    await results('failed');
    expect(events[0]?.error).to.equal(bucket.state);
    bucket.state = 'absent';
    arrive(await cache(1000, 2));
    await results('failed', 'written');
  });

  it('drops a blob that was evicted meanwhile', async () => {
    arrive(makeBlob('x', bytesOf(100)).descriptor);
    await results('dropped');
    expect(bucket.objects.size).to.equal(0);
  });

  it('drops running and waiting writes at a stop', async () => {
    bucket.gate = Promise.withResolvers<undefined>().promise;
    arrive(await cache(1000));
    arrive(await cache(1000, 2));
    await eventually(async () => expect(bucket.puts).to.equal(1));
    await writer.stop();
    expect(events.map(({ result }) => result)).to.deep.equal(['dropped', 'dropped']);
    arrive(await cache(1000, 3));
    expect(events).to.have.lengthOf(3);
    expect(bucket.objects.size).to.equal(0);
  });
});
