/** All faults, in the order of the report. */
import type { Fault } from './fault.ts';
import { BROKEN_DOWNLOADS } from './faults/broken-downloads.ts';

export const FAULTS: readonly Fault[] = [...BROKEN_DOWNLOADS];
