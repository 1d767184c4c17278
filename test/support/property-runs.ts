/** The number of runs of a property test: PROPERTY_RUNS, or 100. */
import fc from 'fast-check';

const runs = process.env['PROPERTY_RUNS'];
if (runs !== undefined) fc.configureGlobal({ ...fc.readConfigureGlobal(), numRuns: Number(runs) });
