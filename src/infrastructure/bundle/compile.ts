/** Runs the service's script once and keeps what V8 has compiled of it by then, for every start after that. */
import { writeFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { CODE_CACHE, runServingScript } from './serving-script.ts';

// The same bytes each time by `node --predictable --no-flush-bytecode`: else threads decide, and when garbage is collected.
const script = runServingScript();
process.once('exit', () => {
  // A code cache is valid for the flags under which it was written, and no other program has these.
  setFlagsFromString('--flush-bytecode');
  writeFileSync(CODE_CACHE, script.createCachedData());
});
