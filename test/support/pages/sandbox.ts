/** A sandbox for the commands of a page: its own copy of the project, home, network and directories of the machine. */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { ROOT } from './page.ts';

/** Host names of the documents; each is this machine in the sandbox. */
const HOSTS =
  '127.0.0.1 localhost registry.example.com registry.site.example master-0\n127.0.0.2 master-1\n127.0.0.3 master-2\n';

/** Directories of the machine that a page may write; they are empty, and are removed with the sandbox. */
const SCRATCH = ['/mnt', '/srv', '/var/tmp'];

const UNSHARED = ['--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];

/** Raises the loopback interface (netdevice(7): SIOCSIFFLAGS, IFF_UP and IFF_RUNNING), with a program of every Debian. */
const LOOPBACK_UP = `perl -MSocket -e 'socket(my $s, AF_INET, SOCK_DGRAM, 0); my $up = pack("a16 s x22", "lo", 65); ioctl($s, 0x8914, $up) or die $!'`;

export class Sandbox {
  readonly #home: string;

  private constructor(home: string) {
    this.#home = home;
  }

  /** Why none can be made here; undefined when one can. */
  static obstacle(): string | undefined {
    const { status, stderr, error } = spawnSync('unshare', [...namespaces(), 'sh', '-c', LOOPBACK_UP]);
    return status === 0 ? undefined : `no namespaces here: ${error?.message ?? stderr.toString().trim()}`;
  }

  /** The sandbox has the packages of this project, unless the page installs them itself. */
  static make(hasPackages: boolean, programs: Readonly<Record<string, string>>): Sandbox {
    const home = mkdtempSync(join(tmpdir(), 'page-'));
    const sandbox = new Sandbox(home);
    const list = execFileSync('git', ['ls-files', '-coz', '--exclude-standard'], { cwd: ROOT, encoding: 'utf8' });
    for (const path of list.split('\0').filter((name) => name !== '')) {
      mkdirSync(dirname(join(sandbox.directory, path)), { recursive: true });
      cpSync(join(ROOT, path), join(sandbox.directory, path));
    }
    if (hasPackages) symlinkSync(join(ROOT, 'node_modules'), join(sandbox.directory, 'node_modules'));
    for (const folder of ['home', 'bin', 'tmp']) mkdirSync(join(home, folder));
    for (const [name, path] of Object.entries(programs)) symlinkSync(path, join(home, 'bin', name));
    writeFileSync(join(home, 'hosts'), HOSTS);
    return sandbox;
  }

  /** Where the copy of the project is. */
  get directory(): string {
    return join(this.#home, 'registry-packages-proxy');
  }

  /** A command and its arguments that run another one in the sandbox. */
  wrap(command: readonly string[]): [string, ...string[]] {
    const mounts = SCRATCH.map((path) => `mount -t tmpfs tmpfs ${path}`);
    const enter = [LOOPBACK_UP, ...mounts, `mount --bind ${join(this.#home, 'hosts')} /etc/hosts`, 'exec "$@"'];
    return ['unshare', ...namespaces(), 'sh', '-euc', enter.join('\n'), 'sh', ...command];
  }

  /** The variables of a user's shell, and the place of npm's cache. */
  environment(): Record<string, string> {
    // This prefers the Node of the host to the one in node_modules, which npm installs.
    const path = (process.env['PATH'] ?? '').split(delimiter).filter((folder) => !folder.includes('node_modules'));
    return {
      PATH: [join(this.#home, 'bin'), ...path].join(delimiter),
      HOME: join(this.#home, 'home'),
      TMPDIR: join(this.#home, 'tmp'),
      LANG: 'C.UTF-8',
      npm_config_cache: execFileSync('npm', ['config', 'get', 'cache'], { encoding: 'utf8' }).trim(),
      npm_config_offline: 'true',
      npm_config_update_notifier: 'false',
    };
  }

  remove(): void {
    rmSync(this.#home, { recursive: true });
  }
}

function namespaces(): string[] {
  return [...(process.getuid?.() === 0 ? [] : ['--map-root-user']), ...UNSHARED];
}
