/** How often a property is tried: a hundred times, or as often as PROPERTY_RUNS says. */
import fc from 'fast-check';

const runs = process.env['PROPERTY_RUNS'];
if (runs !== undefined) fc.configureGlobal({ ...fc.readConfigureGlobal(), numRuns: Number(runs) });
