/** Commands for readers of cached and arriving blobs. */
import { expect } from 'chai';
import { StoreFailedError } from '../../src/domain/errors.ts';
import type { TestBlob } from '../support/image.ts';
import { rejection } from '../support/rejection.ts';
import { BLOBS, type Command, command, pick } from './model-command.ts';
import type { Reader, RealStore } from './real-store.ts';
import type { ModelFile, StoreModel } from './store-model.ts';

/** Opens a blob, cached or not. */
export function open(index: number): Command {
  return command(`open ${String(index)}`, (model, real) => openBlob(pick(BLOBS, index), model, real));
}

export function openKept(index: number): Command {
  return command(
    `open kept ${String(index)}`,
    (model, real) => openBlob(pick([...model.kept.values()], index).blob, model, real),
    ({ kept }) => kept.size > 0,
  );
}

/** Opens a blob with the size of a wrong manifest: this returns no bytes, and does not count as a use of the cached blob. */
export function openAs(index: number, size: number): Command {
  return command(
    `open kept ${String(index)} as one of ${String(size)} bytes`,
    async (model, real) => {
      const { blob } = pick(whole(model), index);
      const wrong = size === blob.descriptor.size ? size + 1 : size;
      expect(await real.store.open({ ...blob.descriptor, size: wrong })).to.equal(undefined);
    },
    (model) => whole(model).length > 0,
  );
}

/** Reads up to `length` available bytes at the position of a reader. */
export function read(index: number, length: number): Command {
  return withReader(`read ${String(index)}, ${String(length)}`, async (model, real) => {
    const reader = pick(real.readers, index);
    const end = Math.min(reader.offset + length, readable(reader));
    try {
      while (reader.offset < end) await readOnce(reader, end);
    } catch (error) {
      if (!(error instanceof StoreFailedError)) throw error;
      expect(reader.file.damage).to.equal('truncate');
      if (reader.fill === undefined) model.drop(reader.file);
    }
  });
}

/** Closes a reader, during a read if that has to wait for bytes. */
export function close(index: number): Command {
  return withReader(`close ${String(index)}`, async (_model, real) => {
    const reader = pick(real.readers, index);
    const { file, blob } = reader;
    const waits = file.state === 'arriving' && file.size > 0;
    const waiting = waits ? rejection(blob.read(readable(reader))) : undefined;
    await blob.close();
    await waiting;
    real.readers.splice(real.readers.indexOf(reader), 1);
    file.readers--;
  });
}

async function openBlob({ descriptor: { digest, size } }: TestBlob, model: StoreModel, real: RealStore): Promise<void> {
  const file = model.use(digest);
  const blob = await real.store.open({ digest, size });
  if (file === undefined) {
    expect(blob).to.equal(undefined);
  } else if (blob === undefined) {
    expect(file.damage, 'a blob without a flaw is not there').not.to.equal(undefined);
    model.drop(file);
  } else {
    expect(file.mustBeFound, 'damage has not been found').to.equal(false);
    expect(blob.size).to.equal(size);
    file.readers++;
    real.readers.push({ file, blob, fill: undefined, offset: 0 });
  }
}

async function readOnce(reader: Reader, end: number): Promise<void> {
  const { file, blob, offset } = reader;
  const bytes = (await blob.read(offset)).subarray(0, end - offset);
  expect(bytes.byteLength).to.be.greaterThan(0);
  const right = file.blob.bytes.subarray(offset, offset + bytes.byteLength);
  // A flipped bit in a verified file is found only by the scrub.
  if (file.damage !== 'flip') expect(Buffer.compare(bytes, right), 'wrong bytes').to.equal(0);
  reader.offset += bytes.byteLength;
}

/** The number of bytes that a reader can get: all bytes of a blob that was cached once. */
function readable({ file, fill }: Reader): number {
  return fill === undefined || file.wasKept ? file.size : fill.readable;
}

function withReader(text: string, does: (model: StoreModel, real: RealStore) => Promise<void>): Command {
  return command(text, does, ({ files }) => files.values().some(({ readers }) => readers > 0));
}

function whole({ kept }: StoreModel): ModelFile[] {
  return [...kept.values()].filter(({ damage }) => damage === undefined);
}
