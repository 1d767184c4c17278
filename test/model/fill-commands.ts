/** Commands for downloads that complete, have wrong bytes, or fail. */
import { expect } from 'chai';
import {
  DigestMismatchError,
  StoreFailedError,
  StoreFullError,
  UpstreamUnavailableError,
} from '../../src/domain/errors.ts';
import { rejection } from '../support/rejection.ts';
import { HeldSource, ingest } from '../support/source.ts';
import { type Delivery, Fill } from './fill.ts';
import { BLOBS, type Command, command, pick } from './model-command.ts';
import type { RealStore } from './real-store.ts';
import type { StoreModel } from './store-model.ts';

/** Delivers a whole blob in one step. */
export function keep(index: number, delivery: Delivery): Command {
  return command(`keep ${String(index)}, ${delivery}`, async (model, real) => {
    const fill = await beginFill(index, delivery, model, real);
    if (fill !== undefined) await settle(fill, model, real);
  });
}

export function begin(index: number, delivery: Delivery): Command {
  return command(`begin ${String(index)}, ${delivery}`, async (model, real) => {
    await beginFill(index, delivery, model, real);
  });
}

export function beginUnopenable(index: number): Command {
  return command(`begin ${String(index)}, which cannot be opened`, async (model, real) => {
    const blob = pick(BLOBS, index);
    const file = model.begin(blob);
    const reason = new UpstreamUnavailableError();
    const error = await rejection(ingest(real.store, blob.descriptor, () => Promise.reject(reason)));
    if (file === undefined) {
      expect(error).to.be.instanceOf(StoreFullError);
    } else {
      expect(error).to.equal(reason);
      model.leave(file);
    }
  });
}

/** Delivers half of the missing bytes of a download. */
export function give(index: number): Command {
  return withFill(`give ${String(index)}`, async (model, real) => {
    const fill = pick(real.fills, index);
    const fits = fill.give((end, length) => model.grow(fill.file, end, length));
    await fill.taken();
    if (!fits) await failForRoom(fill, model, real);
  });
}

export function finish(index: number): Command {
  return withFill(`finish ${String(index)}`, (model, real) => settle(pick(real.fills, index), model, real));
}

/** Opens a reader that follows a download. */
export function join(index: number): Command {
  return withFill(`join ${String(index)}`, (_model, real) => {
    const fill = pick(real.fills, index);
    real.readers.push({ file: fill.file, blob: fill.read(), fill, offset: 0 });
    fill.file.readers++;
  });
}

function withFill(text: string, does: (model: StoreModel, real: RealStore) => void | Promise<void>): Command {
  return command(text, does, ({ files }) => files.values().some(({ state }) => state === 'arriving'));
}

async function beginFill(
  index: number,
  delivery: Delivery,
  model: StoreModel,
  real: RealStore,
): Promise<Fill | undefined> {
  const blob = pick(BLOBS, index);
  const source = new HeldSource();
  const file = model.begin(blob);
  const incoming = ingest(real.store, blob.descriptor, source.source);
  if (file === undefined) {
    expect(await rejection(incoming)).to.be.instanceOf(StoreFullError);
    expect(source.opened).to.equal(0);
    return undefined;
  }
  const fill = new Fill({ file, incoming: await incoming, source, delivery });
  real.fills.push(fill);
  return fill;
}

async function settle(fill: Fill, model: StoreModel, real: RealStore): Promise<void> {
  const kept = fill.finish((end, length) => model.grow(fill.file, end, length));
  if (kept === 'full') {
    await failForRoom(fill, model, real);
    return;
  }
  real.fills.splice(real.fills.indexOf(fill), 1);
  if (kept) {
    await fill.settled;
    model.keep(fill.file);
  } else {
    const expected = fill.delivery === 'failing' ? UpstreamUnavailableError : DigestMismatchError;
    expect(await rejection(fill.settled)).to.be.instanceOf(expected);
    model.leave(fill.file);
  }
}

/** Fails a download that has no room, because readers pin the files that it could evict or the volume is full. */
async function failForRoom(fill: Fill, model: StoreModel, real: RealStore): Promise<void> {
  real.fills.splice(real.fills.indexOf(fill), 1);
  expect(await rejection(fill.settled)).to.be.instanceOf(StoreFailedError);
  model.leave(fill.file);
}
