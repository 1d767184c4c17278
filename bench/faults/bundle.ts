/** The service as it is shipped, when it has been built: it starts several times as fast as the sources. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';

const START = join(import.meta.dirname, '../../dist/start.mjs');

/** Undefined when there is none. */
export function bundle(): string | undefined {
  return existsSync(START) ? START : undefined;
}
