/** Runs an image by bubblewrap as a container runtime does: an unprivileged user, a read-only root, no network. */
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** The devices without terminals: for these bubblewrap makes a nested user namespace, which no process can enter. */
const DEVICES = ['/dev/null', '/dev/zero', '/dev/random', '/dev/urandom'].reduce(
  (args, device) => [...args, '--dev-bind', device, device],
  ['--tmpfs', '/dev'],
);

/** An OCI image, unpacked. */
export interface UnpackedImage {
  readonly root: string;
  readonly config: {
    readonly User: string;
    readonly Entrypoint: readonly string[];
    readonly Env: readonly string[];
    readonly Labels: Readonly<Record<string, string>>;
  };
}

export interface RunOptions {
  readonly bubblewrap: string;
  readonly image: UnpackedImage;
  readonly args: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** The mounts: source, target, and whether it can be written. */
  readonly mounts: readonly { readonly source: string; readonly target: string; readonly isWritable?: boolean }[];
}

/** The answer of a server inside to a client inside. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

export class RunningImage {
  readonly #child: ChildProcess;
  readonly #image: UnpackedImage;
  #output = '';
  #pid = 0;

  private constructor(child: ChildProcess, image: UnpackedImage) {
    this.#child = child;
    this.#image = image;
  }

  /** Resolves when the service logs that it listens. */
  static async start({ bubblewrap, image, args, environment = {}, mounts }: RunOptions): Promise<RunningImage> {
    const { root, config } = image;
    const binds = mounts.flatMap(({ source, target, isWritable }) => [
      isWritable === true ? '--bind' : '--ro-bind',
      source,
      target,
    ]);
    // A runtime also creates the mount points before it makes the root read-only.
    for (const { target } of mounts) mkdirSync(join(root, target), { recursive: true });
    const variables = [...config.Env, 'HOME=/', ...Object.entries(environment).map((pair) => pair.join('='))];
    const child = spawn(
      forEveryUser(bubblewrap, root),
      [
        ...['--unshare-all', '--as-pid-1', '--die-with-parent', '--cap-drop', 'ALL', '--info-fd', '3', '--clearenv'],
        ...variables.flatMap((variable) => ['--setenv', ...variable.split('=', 2)]),
        ...['--ro-bind', root, '/', '--proc', '/proc', ...DEVICES, ...binds],
        ...(isRoot() ? [] : ['--uid', String(identity(image).uid), '--gid', String(identity(image).gid)]),
        ...[...config.Entrypoint, ...args],
      ],
      { stdio: ['ignore', 'pipe', 'pipe', 'pipe'], ...(isRoot() && identity(image)) },
    );
    const running = new RunningImage(child, image);
    await running.#listening();
    return running;
  }

  /** The output until now. */
  get output(): string {
    return this.#output;
  }

  /** The process id on this host. */
  get pid(): number {
    return this.#pid;
  }

  /** Runs the Node of the image beside the service, as `kubectl exec` would, and resolves with what it prints. */
  async node(program: string, ...rest: readonly string[]): Promise<string> {
    const [node = ''] = this.#image.config.Entrypoint;
    const namespaces = ['--user', '--mount', '--net', '--pid', '--root', '--wd', '--preserve-credentials'];
    const args = [
      '--target',
      String(this.#pid),
      ...namespaces,
      node,
      '--input-type=module',
      '--eval',
      program,
      ...rest,
    ];
    const { stdout } = await run('nsenter', args, {
      env: { PATH: process.env['PATH'] },
      ...(isRoot() && identity(this.#image)),
    });
    return stdout;
  }

  /** Sends a request to the service from inside the container. */
  async fetch(path: string): Promise<Answer> {
    const answer = await this.node(`
      const response = await fetch('http://127.0.0.1:5080' + ${JSON.stringify(path)});
      const body = Buffer.from(await response.arrayBuffer()).toString('base64');
      console.log(JSON.stringify({ status: response.status, headers: Object.fromEntries(response.headers), body }));
    `);
    const { status, headers, body } = JSON.parse(answer) as Omit<Answer, 'body'> & { readonly body: string };
    return { status, headers, body: Buffer.from(body, 'base64') };
  }

  /** Sends a signal to the service itself and resolves with its exit code. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    if (this.#child.exitCode !== null) return this.#child.exitCode;
    const exited = once(this.#child, 'close');
    process.kill(this.#pid, signal);
    const [code] = (await exited) as [number | null];
    return code;
  }

  async #listening(): Promise<void> {
    const [, out, err, info] = this.#child.stdio;
    let facts = '';
    info?.on('data', (chunk: Buffer) => {
      facts += chunk.toString();
      this.#pid = Number(/"child-pid": (\d+)/.exec(facts)?.[1] ?? 0);
    });
    await new Promise<void>((resolve, reject) => {
      for (const stream of [out, err]) {
        stream?.on('data', (chunk: Buffer) => {
          this.#output += chunk.toString();
          if (this.#output.includes('"msg":"listening"')) resolve();
        });
      }
      this.#child.once('error', reject);
      this.#child.once('close', (code) => {
        reject(new Error(`ended with ${String(code)}: ${this.#output}`));
      });
    });
  }
}

/** The reason why images cannot be run here; undefined if they can. */
export function obstacle(bubblewrap: string): string | undefined {
  const asNobody = isRoot() ? ['setpriv', '--reuid=64535', '--regid=64535', '--clear-groups'] : [];
  const attempts = [
    [bubblewrap, '--unshare-all', '--ro-bind', '/', '/', 'true'],
    // Root has rights that the user of the image does not have.
    [...asNobody, 'unshare', '--user', 'true'],
  ];
  for (const [program = '', ...args] of attempts) {
    const { status, stderr } = spawnSync(program, args, { encoding: 'utf8' });
    if (status !== 0) return `no namespaces for users without rights: ${stderr.trim()}`;
  }
  return undefined;
}

/** Reads an image written by `tools/image/main.ts`. */
export function readImage(directory: string): UnpackedImage & { readonly digest: string } {
  const read = (path: string): unknown => JSON.parse(readFileSync(join(directory, 'layout', path), 'utf8'));
  const blob = (digest: string): unknown => read(`blobs/${digest.replace(':', '/')}`);
  const { manifests } = read('index.json') as { manifests: { digest: string }[] };
  const digest = manifests[0]?.digest ?? '';
  const manifest = blob(digest) as { config: { digest: string } };
  const { config } = blob(manifest.config.digest) as { config: UnpackedImage['config'] };
  return { root: join(directory, 'root'), config, digest };
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}

function identity({ config }: UnpackedImage): { uid: number; gid: number } {
  const [uid = 0, gid = 0] = config.User.split(':').map(Number);
  return { uid, gid };
}

/** A copy of bubblewrap for the user of the image, who cannot read the home of root. */
function forEveryUser(bubblewrap: string, root: string): string {
  const copy = join(root, '../bwrap');
  if (!existsSync(copy)) copyFileSync(bubblewrap, copy);
  return copy;
}
