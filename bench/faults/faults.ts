/** All faults, in the order of the report. */
import type { Fault } from './fault.ts';
import { ABANDONED_DOWNLOADS } from './faults/abandoned-downloads.ts';
import { ABORTS } from './faults/aborts.ts';
import { API_SERVER } from './faults/api-server.ts';
import { BOOTSTRAP_PORT } from './faults/bootstrap-port.ts';
import { BROKEN_DOWNLOADS } from './faults/broken-downloads.ts';
import { BUCKETS } from './faults/buckets.ts';
import { CHANGED_CREDENTIALS } from './faults/changed-credentials.ts';
import { CLOCK_JUMPS } from './faults/clock-jumps.ts';
import { DAMAGED_FILES } from './faults/damaged-files.ts';
import { DEAD_NAME_SERVER } from './faults/dead-name-server.ts';
import { FAILING_DISK } from './faults/failing-disks.ts';
import { FILLED_DISK } from './faults/filled-disks.ts';
import { FOREIGN_FILES } from './faults/foreign-files.ts';
import { FULL_DISK } from './faults/full-disks.ts';
import { GENERATED_REQUESTS } from './faults/generated-requests.ts';
import { HOSTILE_ANSWERS } from './faults/hostile-answers.ts';
import { IMAGES } from './faults/images.ts';
import { KILLS } from './faults/kills.ts';
import { MIRRORS } from './faults/mirrors.ts';
import { POWER_LOSS } from './faults/power-loss.ts';
import { REDIRECTS } from './faults/redirects.ts';
import { REGISTRY_RESTARTS } from './faults/registry-restarts.ts';
import { SILENT_CONNECTIONS } from './faults/silent-connections.ts';
import { SLOW_READERS } from './faults/slow-readers.ts';
import { SOAKS } from './faults/soak.ts';
import { STALLED_PROCESSES } from './faults/stalled-processes.ts';
import { STALLS_OF_REGISTRIES } from './faults/stalls.ts';
import { STAMPEDES } from './faults/stampedes.ts';
import { TERMINATION } from './faults/termination.ts';
import { THROTTLING } from './faults/throttling.ts';
import { TOKEN_SERVERS } from './faults/token-servers.ts';
import { WRONG_CONTENT } from './faults/wrong-content.ts';
import { WRONG_RESUMES } from './faults/wrong-resumes.ts';
import { XFS } from './faults/xfs.ts';

const ALL: readonly Fault[] = [
  ABANDONED_DOWNLOADS,
  ABORTS,
  ...API_SERVER,
  BOOTSTRAP_PORT,
  ...BROKEN_DOWNLOADS,
  ...BUCKETS,
  CHANGED_CREDENTIALS,
  CLOCK_JUMPS,
  ...DAMAGED_FILES,
  DEAD_NAME_SERVER,
  FAILING_DISK,
  FILLED_DISK,
  FOREIGN_FILES,
  FULL_DISK,
  GENERATED_REQUESTS,
  HOSTILE_ANSWERS,
  IMAGES,
  KILLS,
  MIRRORS,
  POWER_LOSS,
  REDIRECTS,
  REGISTRY_RESTARTS,
  SILENT_CONNECTIONS,
  SLOW_READERS,
  ...SOAKS,
  STALLED_PROCESSES,
  STALLS_OF_REGISTRIES,
  ...STAMPEDES,
  TERMINATION,
  THROTTLING,
  TOKEN_SERVERS,
  ...WRONG_CONTENT,
  WRONG_RESUMES,
  XFS,
];

/** By their number: F1, F1b, F2, …, F10. */
export const FAULTS: readonly Fault[] = ALL.toSorted((a, b) => a.id.localeCompare(b.id, 'en', { numeric: true }));
