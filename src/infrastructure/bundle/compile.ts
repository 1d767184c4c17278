/** Runs the service's script once, and saves the code that V8 has compiled by then for all later starts. */
import { writeFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { CODE_CACHE, runServingScript } from './serving-script.ts';

// `node --predictable --no-flush-bytecode` makes reproducible bytes; otherwise they depend on threads and garbage
// collection.
const script = runServingScript();
process.once('exit', () => {
  // A code cache is valid only for the flags under which it was written, and other programs run without these flags.
  setFlagsFromString('--flush-bytecode');
  writeFileSync(CODE_CACHE, script.createCachedData());
});
