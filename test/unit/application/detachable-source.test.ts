import { expect } from 'chai';
import fc from 'fast-check';
import { DetachableSource } from '../../../src/application/detachable-source.ts';
import { StoreFailedError } from '../../../src/domain/errors.ts';
import { bytesOf, makeBlob } from '../../support/image.ts';
import { MemoryPackageStore } from '../../support/memory-package-store.ts';
import { rejection } from '../../support/rejection.ts';
import { chunksOf, HeldSource, ingest } from '../../support/source.ts';

describe('DetachableSource', () => {
  it('has the rest of a blob wherever the store fails, for chunks of any size', async () => {
    const sizes = fc.integer({ min: 1, max: 300_000 });
    await fc.assert(
      fc.asyncProperty(sizes, fc.integer({ min: 1000, max: 200_000 }), fc.nat(), async (size, chunkBytes, seed) => {
        const { descriptor, bytes } = makeBlob('application/octet-stream', bytesOf(size, seed));
        const source = new DetachableSource(chunksOf(bytes, chunkBytes), size);
        const failing = Math.floor((seed % size) / chunkBytes);
        const incoming = await ingest(new MemoryPackageStore(), descriptor, async () => failAt(source, failing));
        expect(await rejection(incoming.settled)).to.be.instanceOf(StoreFailedError);
        expect(source.hasEnded).to.equal(false);
        const { before, chunks } = await source.detach(incoming.read(), descriptor);
        const rest: Uint8Array[] = [];
        for await (const chunk of chunks) rest.push(new Uint8Array(chunk));
        expect(Buffer.concat(rest).equals(bytes.subarray(before.bytes))).to.equal(true);
        for (const chunk of rest) before.update(chunk);
        before.verify();
      }),
      { numRuns: 100 },
    );
  });

  it('ends its source when the rest is left, and when it is closed', async () => {
    const { descriptor, bytes } = makeBlob('application/octet-stream', bytesOf(300_000));
    for (const isRead of [true, false]) {
      const held = new HeldSource().give(bytes.subarray(0, 100_000));
      const source = new DetachableSource(await held.source(), descriptor.size);
      const incoming = await ingest(new MemoryPackageStore(), descriptor, async () => failAt(source, 0));
      await rejection(incoming.settled);
      expect(held.left).to.equal(false);
      if (isRead) {
        const { chunks } = await source.detach(incoming.read(), descriptor);
        for await (const chunk of chunks) if (chunk.byteLength > 0) break;
      } else {
        await source.close();
      }
      expect(held.left).to.equal(true);
    }
  });
});

/** The store cannot take the chunk with this index. */
async function* failAt(chunks: AsyncIterable<Uint8Array>, index: number): AsyncGenerator<Uint8Array> {
  let at = 0;
  for await (const chunk of chunks) {
    if (at++ === index) throw new StoreFailedError();
    yield chunk;
  }
}
