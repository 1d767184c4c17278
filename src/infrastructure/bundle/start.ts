/** The entry point of the bundle: runs the service as a precompiled script, other commands as modules. */
import '../interruption.ts';
import { asksToServe } from '../../adapters/cli/asks-to-serve.ts';
import { runServingScript } from './serving-script.ts';

/** The script of the service. */
export const script = asksToServe(process.argv.slice(2)) ? runServingScript() : undefined;
if (script === undefined) await import('../program.ts');
