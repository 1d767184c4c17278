/** The store has the blobs of the model after any sequence of commands; failing sequences are shrunk. */
import fc from 'fast-check';
import { constants, accessSync } from 'node:fs';
import { tmpdir } from 'node:os';
import type { Delivery } from './fill.ts';
import { begin, beginUnopenable, finish, give, join, keep } from './fill-commands.ts';
import { crash, harm, limitVolume, restart } from './life-commands.ts';
import { BLOBS, type Command, MAX_BYTES } from './model-command.ts';
import { close, open, openAs, openKept, read } from './read-commands.ts';
import { RealStore } from './real-store.ts';
import { DAMAGES, StoreModel } from './store-model.ts';

export interface Run {
  readonly sequences: number;
  readonly seed: number;
  /** The path that a failure printed, to repeat it. */
  readonly path?: string;
  readonly replayPath?: string;
}

const MAX_COMMANDS = 24;

/** Rejects with the shortest failing sequence and the command that repeats it. */
export async function storeIsAsItsModel({ sequences, seed, path, replayPath }: Run): Promise<void> {
  const place = memoryBacked();
  const property = fc.asyncProperty(commands(replayPath), async (steps) => {
    const real = await RealStore.start(place, MAX_BYTES);
    try {
      await fc.asyncModelRun(() => ({ model: new StoreModel(MAX_BYTES), real }), steps);
    } finally {
      await real.dispose();
    }
  });
  await fc.assert(property, { numRuns: sequences, seed, ...(path !== undefined && { path }) });
}

function commands(replayPath?: string): fc.Arbitrary<Iterable<Command>> {
  const blob = fc.nat(BLOBS.length - 1);
  const any = fc.nat(7);
  const delivery = fc.constantFrom<Delivery>('right', 'right', 'right', 'right', 'wrong', 'short', 'long', 'failing');
  const arrival = fc.tuple(blob, delivery);
  const readings = fc.tuple(any, fc.integer({ min: 1, max: 100_000 }));
  const choices: [times: number, choice: fc.Arbitrary<Command>][] = [
    [4, arrival.map((given) => keep(...given))],
    [2, arrival.map((given) => begin(...given))],
    [1, blob.map(beginUnopenable)],
    [1, any.map(give)],
    [2, any.map(join)],
    [2, any.map(finish)],
    [1, blob.map(open)],
    [4, any.map(openKept)],
    [1, fc.tuple(any, fc.nat(100_000)).map((given) => openAs(...given))],
    [1, fc.constantFrom(MAX_BYTES / 4, MAX_BYTES / 2, MAX_BYTES - 4096, undefined).map(limitVolume)],
    [4, readings.map((given) => read(...given))],
    [3, any.map(close)],
    [2, fc.tuple(any, fc.constantFrom(...DAMAGES)).map((given) => harm(...given))],
    [1, fc.tuple(fc.constantFrom(MAX_BYTES, MAX_BYTES / 2), fc.boolean()).map((given) => restart(...given))],
    [1, fc.tuple(fc.nat(12), any, fc.nat(255)).map((given) => crash(...given))],
  ];
  return fc.commands(
    choices.flatMap(([times, choice]) => Array.from({ length: times }, () => choice)),
    { maxCommands: MAX_COMMANDS, size: 'max', ...(replayPath !== undefined && { replayPath }) },
  ) as fc.Arbitrary<Iterable<Command>>;
}

/** A directory in memory if the system has one, because the test needs no durable disk. */
function memoryBacked(): string {
  try {
    accessSync('/dev/shm', constants.W_OK);
    return '/dev/shm';
  } catch {
    return tmpdir();
  }
}
