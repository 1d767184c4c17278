/** Runs the service's script once and keeps what V8 has compiled of it by then, for every start after that. */
import { writeFileSync } from 'node:fs';
import { CODE_CACHE, runServingScript } from './serving-script.ts';

const script = runServingScript();
process.once('exit', () => {
  writeFileSync(CODE_CACHE, script.createCachedData());
});
