import { expect } from 'chai';
import fc from 'fast-check';
import { DownloadSlots } from '../../../src/application/download-slots.ts';
import { PassThroughs } from '../../../src/application/pass-throughs.ts';
import { DigestMismatchError } from '../../../src/domain/errors.ts';
import type { BlobReader } from '../../../src/domain/ports/package-store.ts';
import { WITHHELD_BYTES } from '../../../src/domain/verifier.ts';
import { bytesOf, makeBlob, type TestBlob } from '../../support/image.ts';
import { UPSTREAM } from '../../support/ports.ts';
import { rejection } from '../../support/rejection.ts';
import { chunksOf, HeldSource, readAll } from '../../support/source.ts';

const never = new AbortController().signal;
const { registry } = UPSTREAM;

describe('PassThroughReader', () => {
  const blob = makeBlob('application/octet-stream', bytesOf(200_000));

  function open(
    { descriptor: layer }: TestBlob,
    source: () => AsyncIterable<Uint8Array> | Promise<AsyncIterable<Uint8Array>>,
  ): Promise<BlobReader> {
    const passThroughs = new PassThroughs({ slots: new DownloadSlots({ max: 1 }), stopping: never });
    return passThroughs.open({ layer, registry, leaving: never, open: async () => source() });
  }

  it('delivers all bytes from any offset on, for chunks and reads of any size', async () => {
    const sizes = fc.integer({ min: 1, max: 90_000 });
    await fc.assert(
      fc.asyncProperty(sizes, sizes, fc.nat(200_000), async (chunkBytes, takenBytes, start) => {
        const reader = await open(blob, () => chunksOf(blob.bytes, chunkBytes));
        const received = Buffer.alloc(200_000);
        let offset = start;
        for (;;) {
          const bytes = (await reader.read(offset)).subarray(0, takenBytes);
          if (bytes.byteLength === 0) break;
          received.set(bytes, offset);
          offset += bytes.byteLength;
        }
        expect(offset).to.equal(200_000);
        expect(received.subarray(start).equals(blob.bytes.subarray(start))).to.equal(true);
        await reader.close();
      }),
      { numRuns: 50 },
    );
  });

  it('withholds the last 64 KiB until the whole blob is verified', async () => {
    const held = new HeldSource().give(blob.bytes);
    const reader = await open(blob, held.source);
    let seen = 0;
    while (seen + WITHHELD_BYTES < 2 * WITHHELD_BYTES) seen += (await reader.read(seen)).byteLength;
    expect(seen).to.be.at.most(blob.bytes.byteLength - WITHHELD_BYTES);
    seen += (await reader.read(seen)).byteLength;
    expect(seen).to.be.at.most(blob.bytes.byteLength - WITHHELD_BYTES);
    const next = reader.read(seen);
    held.end();
    expect(await next).to.have.length.above(0);
    await reader.close();
  });

  it('delivers the end only when the whole blob is verified', async () => {
    const forged = blob.bytes.map((byte) => byte ^ 1);
    for (const offset of [150_000, 200_000]) {
      const reader = await open(blob, () => chunksOf(forged));
      expect(await rejection(reader.read(offset))).to.be.instanceOf(DigestMismatchError);
      await reader.close();
    }
  });

  it('refuses more and fewer bytes than in the manifest', async () => {
    for (const length of [131_071, 131_073]) {
      const bytes = bytesOf(131_073);
      const part = makeBlob('application/octet-stream', bytes.subarray(0, 131_072));
      const reader = await open(part, () => chunksOf(bytes.subarray(0, length)));
      expect(await rejection(reader.read(131_072))).to.be.instanceOf(DigestMismatchError);
      await reader.close();
    }
  });

  it('reads forward only', async () => {
    const reader = await open(blob, () => chunksOf(blob.bytes));
    await reader.read(70_000);
    expect((await rejection(reader.read(0))).message).to.equal('what has passed through cannot be read again');
    await reader.close();
  });

  it('reads an empty blob', async () => {
    const empty = makeBlob('application/octet-stream', new Uint8Array());
    expect(await readAll(await open(empty, () => chunksOf(empty.bytes)))).to.have.lengthOf(0);
  });

  it('rejects a read that waits when the reader is closed', async () => {
    const held = new HeldSource();
    const reader = await open(blob, held.source);
    const reading = rejection(reader.read(0));
    const verifying = rejection(reader.read(blob.bytes.byteLength));
    await reader.close();
    expect((await reading).message).to.equal('reader is closed');
    expect((await verifying).message).to.equal('reader is closed');
    held.end();
  });
});
