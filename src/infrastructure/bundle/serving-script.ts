/** The service as one script, with what V8 had compiled of it when the bundle was made (ADR 16). */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { Script } from 'node:vm';

/** Written by `compile.ts`, and of use to the very Node that ran it. */
export const CODE_CACHE = join(import.meta.dirname, 'program.code-cache');
const PROGRAM = join(import.meta.dirname, 'program.cjs');

/** Runs it, with the arguments of the process. V8 refuses a cache of another version or other flags, and compiles. */
export function runServingScript(): Script {
  // Nearly all that loading makes stays, which V8 takes for a reason to let the young generation grow to 16 MiB. Without
  // this the idle process is 8 MB larger; `serve` takes it back before the first request.
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
