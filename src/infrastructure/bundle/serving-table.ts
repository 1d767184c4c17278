/** The command table of the bundle's script, which only serves (start.ts); its command is loaded already. */
import type { Row } from '../../adapters/cli/command.ts';
import { SERVE } from '../commands/serve.ts';

/** esbuild wraps a module that is loaded on demand, and all its imports, in functions, which cost the idle process 3 MB. */
export const COMMANDS: readonly Row[] = [
  { name: 'serve', summary: 'serve packages', load: () => Promise.resolve(SERVE) },
];
