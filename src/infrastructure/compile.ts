/** Runs the bundle once and keeps what V8 has compiled of it by then, for every start after that. */
import { writeFileSync } from 'node:fs';
import { CODE_CACHE, script } from './start.ts';

process.once('exit', () => {
  writeFileSync(CODE_CACHE, script.createCachedData());
});
