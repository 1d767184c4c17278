/** The bundle's way in: the service as a script that is compiled already, any other command as modules. */
import '../interruption.ts';
import { asksToServe } from '../../adapters/cli/asks-to-serve.ts';
import { runServingScript } from './serving-script.ts';

/** The script of the service. */
export const script = asksToServe(process.argv.slice(2)) ? runServingScript() : undefined;
if (script === undefined) await import('../program.ts');
