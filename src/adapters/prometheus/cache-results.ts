/** The values of the label `result`, all of which are shown from the start. */
import type { CacheOutcome } from '../../application/get-package.ts';

export type CacheResult = CacheOutcome['kind'];

export const CACHE_RESULTS: readonly CacheResult[] = ['hit', 'miss', 'joined', 'bypass'];
