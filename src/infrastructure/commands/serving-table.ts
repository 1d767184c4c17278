/** The table of the bundle's script, which only serves (start.ts), and has loaded what does. */
import { SERVE } from './serve.ts';
import type { Row } from './table.ts';

/**
 * What is loaded when it is asked for, and all that it imports, esbuild wraps in functions: 3 MB of the idle process.
 */
export const COMMANDS: readonly Row[] = [
  { name: 'serve', summary: 'serve packages', load: () => Promise.resolve(SERVE) },
];
