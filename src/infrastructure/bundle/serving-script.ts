/** The service as one script, with the code that V8 compiled when the bundle was built (ADR 16). */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { Script } from 'node:vm';

/** Written by `compile.ts`, and valid only for the Node version that ran it. */
export const CODE_CACHE = join(import.meta.dirname, 'program.code-cache');
const PROGRAM = join(import.meta.dirname, 'program.cjs');

/** Runs the script with the arguments of the process. V8 refuses a cache of another version or other flags, and compiles. */
export function runServingScript(): Script {
  // Nearly all objects of the loading survive, so V8 would let the young generation grow to 16 MiB. Without this flag the
  // idle process is 8 MB larger; `serve` resets it before the first request.
  setFlagsFromString('--semi-space-growth-factor=1');
  const script = new Script(readFileSync(PROGRAM, 'utf8'), {
    filename: PROGRAM,
    cachedData: readCodeCache(),
  });
  const run = script.runInThisContext() as (require: NodeJS.Require, bundleUrl: string) => void;
  run(createRequire(import.meta.url), import.meta.url);
  return script;
}

function readCodeCache(): Buffer | undefined {
  try {
    return readFileSync(CODE_CACHE);
  } catch {
    return undefined;
  }
}
