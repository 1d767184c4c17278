/** The contract of ImageLayout: what every adapter of it promises. */
import { expect } from 'chai';
import type { Digest } from '../../src/domain/digest.ts';
import { DigestMismatchError, UpstreamUnavailableError } from '../../src/domain/errors.ts';
import type { FetchFrom, ImageLayout } from '../../src/domain/ports/image-layout.ts';
import { bytesOf, makePackage, type TestBlob } from '../support/image.ts';
import { rejection } from '../support/rejection.ts';
import { chunksOf } from '../support/source.ts';

export interface LayoutUnderTest {
  readonly layout: ImageLayout;
  /** Makes something else of what lies there under this name. */
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
      await place.layout.keep(
        descriptor,
        async (offset) => {
          offsets.push(offset);
          const chunks = await fetch(offset);
          return (async function* () {
            for await (const chunk of chunks) {
              fetched += chunk.byteLength;
              yield chunk;
            }
          })();
        },
        onBytes,
        signal,
      );
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

    it('takes a blob in, and says how much of it is here', async () => {
      expect(await keep()).to.equal(SIZE);
      expect(offsets).to.deep.equal([0]);
      expect(here.at(-1)).to.equal(SIZE);
      expect(here).to.deep.equal(here.toSorted((a, b) => a - b));
    });

    it('takes an empty blob in', async () => {
      const empty = makePackage(0).layer;
      expect(await keep(async () => chunksOf(empty.bytes), empty)).to.equal(0);
      expect(await keep(all, empty)).to.equal(0);
    });

    it('does not fetch what it has', async () => {
      await keep();
      expect(await keep()).to.equal(0);
      expect(offsets).to.deep.equal([0]);
      expect(here.at(-1)).to.equal(SIZE);
    });

    it('goes on where an earlier try broke off', async () => {
      await breakOffAfter(layer.bytes.subarray(0, 700_000));
      expect(await keep()).to.equal(SIZE - 700_000);
      expect(offsets).to.deep.equal([700_000]);
      expect(here.at(-1)).to.equal(SIZE);
    });

    it('needs nothing but the proof when an earlier try had got everything', async () => {
      await breakOffAfter(layer.bytes);
      expect(await keep()).to.equal(0);
      expect(offsets).to.deep.equal([]);
    });

    for (const [what, begin] of [
      ['is here', () => keep()],
      ['an earlier try has left', () => breakOffAfter(layer.bytes)],
    ] as const) {
      it(`stops in the middle of the proof of what ${what}, and has it the next time`, async () => {
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

    it('lets the error of a source pass', async () => {
      const error = new UpstreamUnavailableError();
      expect(await rejection(keep(() => Promise.reject(error)))).to.equal(error);
    });

    it('fetches anew what has become something else', async () => {
      await keep();
      await place.damage(layer.descriptor.digest, bytesOf(SIZE, 7));
      expect(await keep()).to.equal(SIZE);
    });

    it('does not give a blob up for a descriptor that is wrong about its size', async () => {
      await keep();
      const liar = { ...layer, descriptor: { ...layer.descriptor, size: SIZE - 1 } };
      expect(await rejection(keep(all, liar))).to.be.instanceOf(DigestMismatchError);
      expect(await keep()).to.equal(0);
    });

    it('reads back a manifest that it has, and none that has become something else', async () => {
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
