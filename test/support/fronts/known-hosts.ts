/** Runs programs with a separate hosts file, for names that only these programs can resolve. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** A user other than root becomes root of a namespace of its own. */
const UNSHARE = ['unshare', '--mount', ...(process.getuid?.() === 0 ? [] : ['--user', '--map-root-user'])];

/** The reason why no program can have a hosts file of its own here; undefined when it can. */
export function obstacleToHosts(): string | undefined {
  const [program, ...args] = [...UNSHARE, 'true'];
  const { status, stderr, error } = spawnSync(program, args, { encoding: 'utf8' });
  return status === 0 ? undefined : `no namespaces here: ${error?.message ?? stderr.trim()}`;
}

/** A command that runs another one, for which `name` resolves to this host. */
export function withHost(home: string, name: string, command: readonly string[]): readonly string[] {
  const hosts = join(home, 'hosts');
  writeFileSync(hosts, `127.0.0.1 localhost ${name}\n`, { mode: 0o644 });
  return [...UNSHARE, 'sh', '-euc', `mount --bind ${hosts} /etc/hosts; exec "$@"`, 'sh', ...command];
}
