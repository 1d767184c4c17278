/** All scenarios, in the order of the report. */
import type { Scenario } from '../scenario.ts';

import { FLEET } from './fleet.ts';
import { BALANCED } from './balanced.ts';
import { BUCKET_SCENARIO } from './bucket.ts';
import { BUCKET_COST } from './bucket-cost.ts';
import { GROWTH } from './growth.ts';
import { HITS } from './hits.ts';
import { MISS_FIRST_BYTE } from './miss-first-byte.ts';
import { MISSES } from './misses.ts';
import { ADMISSION } from './admission.ts';
import { MEMORY } from './memory.ts';
import { PROBES } from './probes.ts';
import { SICK_BUCKETS } from './sick-buckets.ts';
import { SIDECAR } from './sidecar.ts';
import { SIZING } from './sizing.ts';
import { SLOW_READERS } from './slow-readers.ts';
import { TURNS } from './turns.ts';
import { UPGRADE } from './upgrade.ts';
import { STARTS } from './starts.ts';

export const SCENARIOS: readonly Scenario[] = [
  SIDECAR,
  ...HITS,
  ...MISSES,
  MISS_FIRST_BYTE,
  BUCKET_SCENARIO,
  SICK_BUCKETS,
  BUCKET_COST,
  BALANCED,
  SLOW_READERS,
  MEMORY,
  SIZING,
  ADMISSION,
  FLEET,
  UPGRADE,
  PROBES,
  TURNS,
  ...STARTS,
  ...GROWTH,
];
