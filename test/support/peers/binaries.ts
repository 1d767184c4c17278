/** Where the real registries are, and what to do without them. */
import { accessSync, constants } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';

/** Name of the program, and the variable that overrides where it is. */
const PROGRAMS = {
  'docker-registry': 'DOCKER_REGISTRY',
  'distribution-registry': 'DISTRIBUTION_REGISTRY',
  crane: 'CRANE',
} as const;

export type Program = keyof typeof PROGRAMS;

/** Undefined when it is nowhere; tools/peers.sh puts it where this looks. */
export function findProgram(program: Program): string | undefined {
  const override = process.env[PROGRAMS[program]];
  if (override !== undefined) return override;
  const cache = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');
  const folders = [join(cache, 'registry-packages-proxy/peers/bin'), ...(process.env['PATH'] ?? '').split(delimiter)];
  return folders.map((folder) => join(folder, program)).find(isExecutable);
}

/** Runs the suite over a program; without it the suite is a skip that says why or, with REQUIRE_PEERS=1, a failure. */
export function describeWith(program: Program, suite: (path: string) => void): void {
  const path = findProgram(program);
  if (path !== undefined) {
    suite(path);
    return;
  }
  const reason = `${program} is not here: tools/peers.sh installs it`;
  if (process.env['REQUIRE_PEERS'] === '1') {
    it(reason, () => {
      throw new Error(reason);
    });
  } else {
    it.skip(reason);
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
