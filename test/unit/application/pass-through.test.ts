import { expect } from 'chai';
import fc from 'fast-check';
import sinon from 'sinon';
import { PassThrough } from '../../../src/application/pass-through.ts';
import { DigestMismatchError } from '../../../src/domain/errors.ts';
import { WITHHELD_BYTES } from '../../../src/domain/proof.ts';
import { bytesOf, makeBlob } from '../../support/image.ts';
import { rejection } from '../../support/rejection.ts';
import { chunksOf, HeldSource, readAll } from '../../support/source.ts';

describe('PassThrough', () => {
  const blob = makeBlob('application/octet-stream', bytesOf(200_000));

  it('delivers all bytes from any offset on, whatever the chunks and how much of them is taken', async () => {
    const sizes = fc.integer({ min: 1, max: 90_000 });
    await fc.assert(
      fc.asyncProperty(sizes, sizes, fc.nat(200_000), async (chunkBytes, takenBytes, start) => {
        const reader = new PassThrough(blob.descriptor, chunksOf(blob.bytes, chunkBytes), () => undefined);
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

  it('withholds the last 64 KiB until all of it is proved', async () => {
    const held = new HeldSource().give(blob.bytes);
    const reader = new PassThrough(blob.descriptor, await held.source(), () => undefined);
    const shown = blob.bytes.byteLength - WITHHELD_BYTES;
    expect(await reader.read(0)).to.have.lengthOf(shown);
    const next = reader.read(shown);
    held.end();
    expect(await next).to.have.lengthOf(WITHHELD_BYTES);
    await reader.close();
  });

  it('shows the end of it only when all of it is proved', async () => {
    const forged = blob.bytes.map((byte) => byte ^ 1);
    for (const offset of [150_000, 200_000]) {
      const reader = new PassThrough(blob.descriptor, chunksOf(forged), () => undefined);
      expect(await rejection(reader.read(offset))).to.be.instanceOf(DigestMismatchError);
      await reader.close();
    }
  });

  it('reads forward only', async () => {
    const reader = new PassThrough(blob.descriptor, chunksOf(blob.bytes), () => undefined);
    await reader.read(50_000);
    expect((await rejection(reader.read(0))).message).to.equal('what has passed through cannot be read again');
    await reader.close();
  });

  it('reads an empty blob as its end', async () => {
    const empty = makeBlob('application/octet-stream', new Uint8Array());
    expect(await readAll(new PassThrough(empty.descriptor, chunksOf(empty.bytes), () => undefined))).to.have.lengthOf(
      0,
    );
  });

  it('tells its source at once when nobody reads on, also one that is being waited for', async () => {
    const held = new HeldSource();
    const abandon = sinon.spy();
    const reader = new PassThrough(blob.descriptor, await held.source(), abandon);
    const reading = rejection(reader.read(0));
    const closing = reader.close();
    sinon.assert.calledOnce(abandon);
    held.fail(new Error('aborted'));
    expect((await reading).message).to.equal('aborted');
    await closing;
  });

  it('takes bytes from any iterator, also one that cannot be told to end', async () => {
    const chunks = chunksOf(blob.bytes);
    const reader = new PassThrough(
      blob.descriptor,
      { [Symbol.asyncIterator]: () => ({ next: () => chunks.next() }) },
      () => undefined,
    );
    expect(Buffer.compare(await readAll(reader), blob.bytes)).to.equal(0);
  });
});
