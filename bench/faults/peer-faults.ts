/** Faults of registries, token servers, API servers, clients, clocks and the machine. */
import type { Fault } from './fault.ts';
import { ABANDONED_DOWNLOADS } from './faults/abandoned-downloads.ts';
import { ABORTS } from './faults/aborts.ts';
import { CHANGED_CREDENTIALS } from './faults/changed-credentials.ts';
import { CLOCK_JUMPS } from './faults/clock-jumps.ts';
import { DEAD_NAME_SERVER } from './faults/dead-name-server.ts';
import { HOSTILE_ANSWERS } from './faults/hostile-answers.ts';
import { REDIRECTS } from './faults/redirects.ts';
import { REGISTRY_RESTARTS } from './faults/registry-restarts.ts';
import { SILENT_CONNECTIONS } from './faults/silent-connections.ts';
import { SLOW_READERS } from './faults/slow-readers.ts';
import { STALLED_PROCESSES } from './faults/stalled-processes.ts';
import { TERMINATION } from './faults/termination.ts';
import { THROTTLING } from './faults/throttling.ts';
import { TOKEN_SERVERS } from './faults/token-servers.ts';

export const PEER_FAULTS: readonly Fault[] = [
  THROTTLING,
  TOKEN_SERVERS,
  REDIRECTS,
  HOSTILE_ANSWERS,
  REGISTRY_RESTARTS,
  CLOCK_JUMPS,
  SLOW_READERS,
  ABORTS,
  ABANDONED_DOWNLOADS,
  STALLED_PROCESSES,
  TERMINATION,
  CHANGED_CREDENTIALS,
  DEAD_NAME_SERVER,
  SILENT_CONNECTIONS,
];
