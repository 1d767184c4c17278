/** The table of the bundle's script, which only serves (start.ts), and has loaded what does. */
import type { Row } from '../../adapters/cli/command.ts';
import { SERVE } from '../commands/serve.ts';

/** esbuild wraps a module that is loaded on demand, and all its imports, in functions: 3 MB of the idle process. */
export const COMMANDS: readonly Row[] = [
  { name: 'serve', summary: 'serve packages', load: () => Promise.resolve(SERVE) },
];
