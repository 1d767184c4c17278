/** The model test at length: `npm run test:model -- --sequences 100000`; a failure prints what repeats it. */
import { parseArgs } from 'node:util';
import { storeIsAsItsModel } from './store-property.ts';

/** Most of a sequence is waiting for the disk. */
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
  // A lane that fails lets the others clear away what they have.
  for (const outcome of await Promise.allSettled(runs)) if (outcome.status === 'rejected') throw outcome.reason;
} else {
  const replayPath = values['replay-path'];
  await storeIsAsItsModel({ sequences, seed, path: values.path, ...(replayPath !== undefined && { replayPath }) });
}
const seconds = ((performance.now() - started) / 1000).toFixed(1);
process.stdout.write(
  `${String(sequences)} sequences, seed ${String(seed)}: the store was as its model (${seconds} s)\n`,
);
