/** Gives the service its own hosts file and resolv.conf in a mount namespace, with a scripted name server on port 53. */
import { execFileSync } from 'node:child_process';
import { realpathSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FakeNameServer, type Question, type Reply } from '../../../test/support/fake-name-server.ts';
import type { FaultBench } from '../fault-bench.ts';

/** 127.0.0.53 belongs to systemd-resolved. */
const ADDRESS = '127.9.53.53';
const RESOLVER_OPTIONS = 'search ns.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n';

export interface OwnNames {
  readonly server: FakeNameServer;
  /** The command that is put before the command line of the service. */
  readonly wrapper: readonly string[];
}

/** The reason why this is not possible: the bench lacks a privilege. */
export async function openOwnNames(
  bench: FaultBench,
  hosts: string,
  reply: (question: Question) => Reply,
): Promise<OwnNames | { readonly reason: string }> {
  const folder = await bench.workspace.folder('names');
  const [hostsFile, resolvConf] = [join(folder, 'hosts'), join(folder, 'resolv.conf')];
  await writeFile(hostsFile, `127.0.0.1 localhost\n${hosts}`);
  await writeFile(resolvConf, `nameserver ${ADDRESS}\n${RESOLVER_OPTIONS}`);
  const script = 'mount --bind "$1" /etc/hosts && mount --bind "$2" "$3" && shift 3 && exec "$@"';
  const target = realpathSync('/etc/resolv.conf');
  const wrapper = ['unshare', '-rm', 'sh', '-c', script, 'sh', hostsFile, resolvConf, target];
  try {
    execFileSync(wrapper[0] ?? '', [...wrapper.slice(1), 'true'], { stdio: 'pipe' });
    const server = await FakeNameServer.start(reply, { address: ADDRESS, port: 53 });
    bench.onClear(() => server.close());
    return { server, wrapper };
  } catch (error) {
    return {
      reason: error instanceof Error ? (error.message.split('\n').at(-1) ?? '') || error.message : String(error),
    };
  }
}
