/** All faults, in the order of the report. */
import type { Fault } from './fault.ts';
import { API_SERVER } from './faults/api-server.ts';
import { BROKEN_DOWNLOADS } from './faults/broken-downloads.ts';
import { DAMAGED_FILES } from './faults/damaged-files.ts';
import { FAILING_DISKS } from './faults/failing-disks.ts';
import { FULL_DISKS } from './faults/full-disks.ts';
import { DEATHS } from './faults/kills.ts';
import { SOAKS } from './faults/soak.ts';
import { GENERATED_REQUESTS } from './faults/generated-requests.ts';
import { STALLS_OF_REGISTRIES } from './faults/stalls.ts';
import { STAMPEDES } from './faults/stampedes.ts';
import { POWER_LOSS } from './faults/power-loss.ts';
import { PEER_FAULTS } from './peer-faults.ts';
import { STRANGE_DIRECTORIES } from './faults/strangers.ts';
import { WRONG_CONTENT } from './faults/wrong-content.ts';
import { WRONG_RESUMES } from './faults/wrong-resumes.ts';

const ALL: readonly Fault[] = [
  ...BROKEN_DOWNLOADS,
  WRONG_RESUMES,
  ...WRONG_CONTENT,
  STALLS_OF_REGISTRIES,
  ...STAMPEDES,
  ...PEER_FAULTS,
  ...FULL_DISKS,
  ...DAMAGED_FILES,
  ...STRANGE_DIRECTORIES,
  ...DEATHS,
  ...API_SERVER,
  ...FAILING_DISKS,
  POWER_LOSS,
  ...SOAKS,
  GENERATED_REQUESTS,
];

/** By their number: F1, F1b, F2, …, F10. */
export const FAULTS: readonly Fault[] = ALL.toSorted((a, b) => a.id.localeCompare(b.id, 'en', { numeric: true }));
