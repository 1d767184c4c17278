/** The contract of ImageLayout: what every adapter of it promises. */
import { expect } from 'chai';
import type { Digest } from '../../src/domain/descriptor.ts';
import { DigestMismatchError, UpstreamUnavailableError } from '../../src/domain/errors.ts';
import type { FetchFrom } from '../../src/application/resumed-download.ts';
import { writeBlob } from '../../src/application/write-blob.ts';
import type { BlobWriter, ImageLayout } from '../../src/domain/ports/image-layout.ts';
import { bytesOf, makePackage, type TestBlob } from '../support/image.ts';
import { rejection } from '../support/rejection.ts';
import { chunksOf } from '../support/source.ts';

export interface LayoutUnderTest {
  readonly layout: ImageLayout;
  /** Replaces the file of a blob by other bytes. */
  damage(digest: Digest, bytes: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

const SIZE = 1_000_003;

export function describeImageLayout(name: string, make: () => Promise<LayoutUnderTest>): void {
  describe(`${name} is an ImageLayout that`, () => {
    const { layer, manifest } = makePackage(SIZE);
    let place: LayoutUnderTest;
    let offsets: number[];
    let here: number[];
    beforeEach(async () => {
      place = await make();
      offsets = [];
      here = [];
    });
    afterEach(() => place.close());

    const all: FetchFrom = async (offset) => chunksOf(layer.bytes.subarray(offset));
    /** Resolves with how many bytes were fetched. */
    const keep = async (
      fetch: FetchFrom = all,
      { descriptor }: TestBlob = layer,
      onBytes = (bytes: number): unknown => here.push(bytes),
      signal = new AbortController().signal,
    ): Promise<number> => {
      let fetched = 0;
      const counted: FetchFrom = async (offset) => {
        offsets.push(offset);
        const chunks = await fetch(offset);
        return (async function* () {
          for await (const chunk of chunks) {
            fetched += chunk.byteLength;
            yield chunk;
          }
        })();
      };
      await writeBlob(place.layout, descriptor, counted, signal, onBytes);
      return fetched;
    };
    const breakOffAfter = async (bytes: Uint8Array): Promise<void> => {
      await rejection(
        keep(async () => {
          return (async function* () {
            yield* chunksOf(bytes);
            throw new UpstreamUnavailableError();
          })();
        }),
      );
      offsets = [];
      here = [];
    };

    it('writes a blob, and reports how many bytes it has', async () => {
      expect(await keep()).to.equal(SIZE);
      expect(offsets).to.deep.equal([0]);
      expect(here.at(-1)).to.equal(SIZE);
      expect(here).to.deep.equal(here.toSorted((a, b) => a - b));
    });

    it('writes an empty blob', async () => {
      const empty = makePackage(0).layer;
      expect(await keep(async () => chunksOf(empty.bytes), empty)).to.equal(0);
      expect(await keep(all, empty)).to.equal(0);
    });

    it('does not fetch a blob that it has', async () => {
      await keep();
      expect(await keep()).to.equal(0);
      expect(offsets).to.deep.equal([0]);
      expect(here.at(-1)).to.equal(SIZE);
    });

    it('resumes a blob at the byte where an earlier attempt broke off', async () => {
      await breakOffAfter(layer.bytes.subarray(0, 700_000));
      expect(await keep()).to.equal(SIZE - 700_000);
      expect(offsets).to.deep.equal([700_000]);
      expect(here.at(-1)).to.equal(SIZE);
    });

    it('only verifies a blob whose bytes an earlier attempt has written', async () => {
      await breakOffAfter(layer.bytes);
      expect(await keep()).to.equal(0);
      expect(offsets).to.deep.equal([]);
    });

    for (const [what, begin] of [
      ['is here', () => keep()],
      ['an earlier try has left', () => breakOffAfter(layer.bytes)],
    ] as const) {
      it(`stops in the middle of the check of what ${what}, and has it the next time`, async () => {
        await begin();
        const interruption = new AbortController();
        const heard: number[] = [];
        const onBytes = (bytes: number): void => {
          heard.push(bytes);
          interruption.abort();
        };
        const error = await rejection(keep(all, layer, onBytes, interruption.signal));
        expect(error).to.equal(interruption.signal.reason);
        expect(heard).to.have.lengthOf(1);
        expect(heard[0]).to.be.below(SIZE);
        expect(await keep()).to.equal(0);
      });
    }

    for (const [what, bytes] of [
      ['something else', bytesOf(700_000, 7)],
      ['something else of its size', bytesOf(SIZE, 7)],
    ] as const) {
      it(`begins anew when an earlier try has left ${what}`, async () => {
        await breakOffAfter(bytes);
        await keep();
        expect(offsets.at(-1)).to.equal(0);
        expect(here.at(-1)).to.equal(SIZE);
      });
    }

    for (const [what, bytes] of [
      ['others', bytesOf(SIZE, 7)],
      ['too few', layer.bytes.subarray(1)],
      ['too many', Buffer.concat([layer.bytes, bytesOf(1)])],
    ] as const) {
      it(`keeps nothing of bytes that are ${what}`, async () => {
        expect(await rejection(keep(async () => chunksOf(bytes)))).to.be.instanceOf(DigestMismatchError);
        expect(here.at(-1)).to.equal(0);
        expect(await keep()).to.equal(SIZE);
        expect(offsets).to.deep.equal([0, 0]);
      });
    }

    const resumed = async ({ descriptor }: TestBlob = layer): Promise<BlobWriter> => {
      const writer = place.layout.writer(descriptor);
      for await (const at of writer.resume()) expect(at).to.equal(writer.offset);
      return writer;
    };

    it('has no file under the digest before the commit, and keeps the bytes for the next writer', async () => {
      const first = await resumed(manifest);
      await first.write(manifest.bytes.subarray(0, 10));
      await first.write(manifest.bytes.subarray(10));
      expect(first.offset).to.equal(manifest.bytes.byteLength);
      expect(await place.layout.readManifest(manifest.descriptor.digest)).to.equal(undefined);
      first.close();
      const second = await resumed(manifest);
      expect(second.offset).to.equal(manifest.bytes.byteLength);
      await second.commit();
      second.close();
      expect(await place.layout.readManifest(manifest.descriptor.digest)).not.to.equal(undefined);
    });

    for (const [what, write] of [
      ['wrong', (writer) => writer.write(bytesOf(SIZE, 7))],
      ['missing at the end', (writer) => writer.write(layer.bytes.subarray(1))],
      [
        'too many',
        async (writer) => {
          await writer.write(layer.bytes);
          await writer.write(bytesOf(1));
        },
      ],
    ] as [what: string, write: (writer: BlobWriter) => Promise<void>][]) {
      it(`begins again in the same writer when bytes are ${what}`, async () => {
        const writer = await resumed();
        const attempt = write(writer).then(() => writer.commit());
        expect(await rejection(attempt)).to.be.instanceOf(DigestMismatchError);
        expect(writer.offset).to.equal(0);
        await writer.write(layer.bytes);
        await writer.commit();
        writer.close();
        const next = await resumed();
        expect(next.offset).to.equal(SIZE);
        await next.commit();
        next.close();
      });
    }

    it('rejects with the error of the source', async () => {
      const error = new UpstreamUnavailableError();
      expect(await rejection(keep(() => Promise.reject(error)))).to.equal(error);
    });

    it('fetches a blob again whose file has other bytes', async () => {
      await keep();
      await place.damage(layer.descriptor.digest, bytesOf(SIZE, 7));
      expect(await keep()).to.equal(SIZE);
    });

    it('keeps a blob although a descriptor has a wrong size for it', async () => {
      await keep();
      const liar = { ...layer, descriptor: { ...layer.descriptor, size: SIZE - 1 } };
      expect(await rejection(keep(all, liar))).to.be.instanceOf(DigestMismatchError);
      expect(await keep()).to.equal(0);
    });

    it('reads a stored manifest, and refuses one whose file has other bytes', async () => {
      const { digest } = manifest.descriptor;
      expect(await place.layout.readManifest(digest)).to.equal(undefined);
      await keep(async () => chunksOf(manifest.bytes), manifest);
      expect(Buffer.compare((await place.layout.readManifest(digest)) ?? new Uint8Array(), manifest.bytes)).to.equal(0);
      await place.damage(digest, encodeOther(manifest.bytes));
      expect(await place.layout.readManifest(digest)).to.equal(undefined);
    });
  });
}

function encodeOther(bytes: Uint8Array): Uint8Array {
  return bytes.map((byte, at) => (at === 5 ? byte ^ 1 : byte));
}
