/** Runs the model test at length: `npm run test:model -- --sequences 100000`; a failure prints the command that repeats it. */
import { parseArgs } from 'node:util';
import { storeIsAsItsModel } from './store-property.ts';

/** Concurrent sequences: each mostly waits for the disk. */
const LANES = 4;

const { values } = parseArgs({
  options: {
    sequences: { type: 'string', default: '10000' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    path: { type: 'string' },
    'replay-path': { type: 'string' },
  },
});
const sequences = Number(values.sequences);
const seed = Number(values.seed);
const started = performance.now();
if (values.path === undefined) {
  const lanes = Array.from({ length: LANES }, (_, lane) => lane);
  const runs = lanes.map((lane) => storeIsAsItsModel({ sequences: sequences / LANES, seed: seed + lane }));
  // After a failure the other lanes still remove their directories.
  for (const outcome of await Promise.allSettled(runs)) if (outcome.status === 'rejected') throw outcome.reason;
} else {
  const replayPath = values['replay-path'];
  await storeIsAsItsModel({ sequences, seed, path: values.path, ...(replayPath !== undefined && { replayPath }) });
}
const seconds = ((performance.now() - started) / 1000).toFixed(1);
process.stdout.write(
  `${String(sequences)} sequences, seed ${String(seed)}: the store was as its model (${seconds} s)\n`,
);
