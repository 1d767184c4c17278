/** Runs containerd in a separate folder, with ctr as its client. It needs root. */
import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { PeerProcess } from './process.ts';

const run = promisify(execFile);
const WITHOUT = [
  'grpc.v1.cri',
  'internal.v1.opt',
  ...['aufs', 'btrfs', 'devmapper', 'zfs'].map((name) => `snapshotter.v1.${name}`),
];

export class Containerd {
  readonly #daemon: PeerProcess;
  readonly #ctr: string;
  readonly #socket: string;

  private constructor(daemon: PeerProcess, ctr: string, socket: string) {
    this.#daemon = daemon;
    this.#ctr = ctr;
    this.#socket = socket;
  }

  static async start(
    programs: { readonly containerd: string; readonly ctr: string },
    folder: string,
  ): Promise<Containerd> {
    const socket = join(folder, 'containerd.sock');
    const config = join(folder, 'config.toml');
    await mkdir(folder, { recursive: true });
    await writeFile(
      config,
      [
        'version = 2',
        `root = "${join(folder, 'root')}"`,
        `state = "${join(folder, 'state')}"`,
        `disabled_plugins = [${WITHOUT.map((name) => `"io.containerd.${name}"`).join(', ')}]`,
        `[grpc]\n  address = "${socket}"`,
        `[ttrpc]\n  address = "${socket}.ttrpc"`,
      ].join('\n'),
    );
    const daemon = new PeerProcess(programs.containerd, ['--config', config]);
    const started = new Containerd(daemon, programs.ctr, socket);
    try {
      await daemon.ready(async () => (await started.ask('version')).includes('Server'));
      return started;
    } catch (error) {
      await started.end();
      throw error;
    }
  }

  /** Resolves with the output of ctr. */
  async ask(...args: readonly string[]): Promise<string> {
    const { stdout } = await run(this.#ctr, ['--address', this.#socket, ...args]);
    return stdout;
  }

  async end(): Promise<void> {
    await this.#daemon.end('SIGTERM');
  }
}
