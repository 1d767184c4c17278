import { expect } from 'chai';
import fc from 'fast-check';
import sinon from 'sinon';
import { DetachableSource, DownloadReader } from '../../../src/application/detachable-source.ts';
import { EvictedError, StoreFailedError } from '../../../src/domain/errors.ts';
import type { BlobReader } from '../../../src/domain/ports/package-store.ts';
import { Verifier } from '../../../src/domain/verifier.ts';
import { bytesOf, makeBlob } from '../../support/image.ts';
import { MemoryPackageStore } from '../../support/memory-package-store.ts';
import { rejection } from '../../support/rejection.ts';
import { chunksOf, HeldSource, ingest } from '../../support/source.ts';

describe('DetachableSource', () => {
  it('yields the rest of a blob wherever the store fails, for chunks of any size', async () => {
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

  it('ends its source when the reader leaves the rest, and when it is closed', async () => {
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

const { descriptor } = makeBlob('application/octet-stream', new Uint8Array(10));

function readerThat(read: BlobReader['read']): BlobReader & { close: sinon.SinonStub } {
  return { size: 10, read, close: sinon.stub().resolves() };
}

describe('DownloadReader', () => {
  const left = sinon.stub();
  const rest = readerThat(async () => new Uint8Array([7]));
  beforeEach(() => {
    left.reset();
    rest.close.resetHistory();
  });

  function readerOf(stored: BlobReader, openRest = async (): Promise<BlobReader> => rest): DownloadReader {
    return new DownloadReader({ stored, openRest, failed: () => Promise.resolve(), onClose: left });
  }

  it('reads the stored bytes, and then the rest of the download', async () => {
    const stored = readerThat(async (offset) => {
      if (offset > 3) throw new StoreFailedError();
      return new Uint8Array([1]);
    });
    const reader = readerOf(stored);
    await reader.continueIn(new Verifier(descriptor));
    expect(await reader.read(3)).to.deep.equal(new Uint8Array([1]));
    expect(await reader.read(4)).to.deep.equal(new Uint8Array([7]));
    await reader.close();
    for (const each of [stored, rest]) sinon.assert.calledOnce(each.close);
    sinon.assert.calledOnce(left);
  });

  it('closes a rest that it has not read', async () => {
    const stored = readerThat(async () => new Uint8Array([1]));
    const reader = readerOf(stored);
    await reader.continueIn(new Verifier(descriptor));
    await reader.close();
    for (const each of [stored, rest]) sinon.assert.calledOnce(each.close);
  });

  it('does not read the rest for earlier bytes', async () => {
    const error = new StoreFailedError();
    const before = new Verifier(descriptor);
    before.update(new Uint8Array(5));
    const reader = readerOf(readerThat(() => Promise.reject(error)));
    await reader.continueIn(before);
    expect(await rejection(reader.read(4))).to.equal(error);
    expect(await reader.read(5)).to.deep.equal(new Uint8Array([7]));
    await reader.close();
  });

  for (const [what, error] of [
    ['without a rest', new StoreFailedError()],
    ['for an evicted blob', new EvictedError()],
    ['for an error of the source', new Error('reset')],
  ] as const) {
    it(`rejects with the error of the store ${what}`, async () => {
      const reader = readerOf(
        readerThat(() => Promise.reject(error)),
        () => Promise.reject(new Error('no slot')),
      );
      await reader.continueIn(new Verifier(descriptor));
      expect(await rejection(reader.read(0))).to.equal(error);
      await reader.close();
    });
  }
});
