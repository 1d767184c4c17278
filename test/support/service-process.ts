/** Runs the service as a separate process with the settings of a test, and searches its output for secrets. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import got, { type Got } from 'got';
import { stringify } from 'yaml';

const ROOT = join(import.meta.dirname, '../..');
const MAIN = join(ROOT, 'src/infrastructure/main.ts');

/** Every password and token of the tests contains this word, also in base64. */
const CANARIES = /canary|Y2FuYXJ5|NhbmFyeS|jYW5hcn/i;

export interface ServiceOptions {
  readonly settings?: object;
  readonly flags?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** Node allows it to read only this project and its home, and to write only its home. */
  readonly isConfined?: boolean;
  /** The main file; by default that of the sources. */
  readonly main?: string;
  /** A prefix for a command that runs it in the same process. */
  readonly wrapper?: readonly string[];
}

export class ServiceProcess {
  readonly #child: ChildProcess;
  readonly #home: string;
  /** The service accepts only clients with a certificate, which this process does not have. */
  readonly #isHardened: boolean;
  /** The cache directory, unless the settings have another one. */
  readonly cacheDirectory: string;
  #output = '';
  #port = 0;

  private constructor(child: ChildProcess, home: string, isHardened: boolean) {
    this.#child = child;
    this.#isHardened = isHardened;
    this.#home = home;
    this.cacheDirectory = join(home, 'cache');
  }

  /** Resolves when it listens; rejects with its output if it exits. */
  static async start(
    { settings = {}, flags = [], environment = {}, isConfined = false, main = MAIN, wrapper = [] }: ServiceOptions = {},
    home?: string,
  ): Promise<ServiceProcess> {
    const directory = home ?? (await mkdtemp(join(tmpdir(), 'service-')));
    await writeFile(join(directory, 'settings.yaml'), stringify({ store: { directory: 'cache' }, ...settings }));
    const args = ['--config', join(directory, 'settings.yaml'), '--listen-address', '127.0.0.1:0', ...flags];
    const permissions = [`--allow-fs-read=${ROOT}`, `--allow-fs-read=${directory}`, `--allow-fs-write=${directory}`];
    const confinement = isConfined ? ['--permission', '--allow-worker', ...permissions] : [];
    const [program = process.execPath, ...rest] = [...wrapper, process.execPath, ...confinement, main, ...args];
    const child = spawn(program, rest, {
      env: { ...withoutProxies(process.env), ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const service = new ServiceProcess(child, directory, JSON.stringify(settings).includes('"tls"'));
    await service.#listening();
    return service;
  }

  get port(): number {
    return this.#port;
  }

  /** The process id; 0 if the start failed. */
  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** The output until now. */
  get output(): string {
    return this.#output;
  }

  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  get client(): Got {
    return got.extend({
      prefixUrl: `http://127.0.0.1:${String(this.#port)}`,
      retry: { limit: 0 },
      throwHttpErrors: false,
      decompress: false,
      hooks: {
        afterResponse: [
          (response) => {
            if (response.statusCode >= 400) expectNoCanary('error', String(response.body));
            const { pathname } = response.requestUrl;
            if (['/explain', '/status'].includes(pathname)) expectNoCanary(pathname, String(response.body));
            return response;
          },
        ],
      },
    });
  }

  /** Waits for the first match in its output. */
  async printed(pattern: RegExp): Promise<string> {
    for (;;) {
      const [found] = pattern.exec(this.#output) ?? [];
      if (found !== undefined) return found;
      await once(this.#child.stderr ?? this.#child, 'data');
    }
  }

  /** Waits for the first log line with this message and these fields. */
  async logged(message: string, fields: Readonly<Record<string, unknown>> = {}): Promise<Record<string, unknown>> {
    for (;;) {
      const wanted = Object.entries({ ...fields, msg: message });
      const line = this.lines.find((candidate) => wanted.every(([name, value]) => candidate[name] === value));
      if (line !== undefined) return line;
      await once(this.#child.stdout ?? this.#child, 'data');
    }
  }

  /** Sends a signal and resolves with the exit code; the home stays for another start. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    const exited = once(this.#child, 'exit');
    this.#child.kill(signal);
    const [code] = (await exited) as [number | null];
    expectNoCanary('output', this.#output);
    return code;
  }

  /** Checks its metrics, stops it, and removes its files. */
  async close(): Promise<void> {
    if (!this.hasEnded) {
      if (!this.#isHardened) await this.#checkMetrics();
      await this.end();
    }
    await rm(this.#home, { recursive: true });
  }

  async #checkMetrics(): Promise<void> {
    const metrics = await this.client('metrics').text();
    expectNoCanary('metrics', metrics);
    if (/[0-9a-f]{64}/.test(metrics)) throw new Error('a digest in the metrics');
  }

  /** Starts it again on the same home. */
  restart(options: ServiceOptions): Promise<ServiceProcess> {
    return ServiceProcess.start(options, this.#home);
  }

  /** The log lines until now; the last line can still be missing. */
  get lines(): Record<string, unknown>[] {
    return this.#output
      .split('\n')
      .slice(0, -1)
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  async #listening(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const listen = (chunk: Buffer): void => {
        this.#output += chunk.toString();
        if (this.#port !== 0) return;
        const port = /"port":(\d+),"msg":"listening"/.exec(this.#output)?.[1];
        if (port === undefined) return;
        this.#port = Number(port);
        resolve();
      };
      this.#child.stdout?.on('data', listen);
      this.#child.stderr?.on('data', listen);
      this.#child.once('exit', (code) => {
        reject(new Error(`ended with ${String(code)}: ${this.#output}`));
      });
    });
  }
}

function withoutProxies(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !/_proxy$/i.test(name)));
}

/** The first line with a secret. */
export function findCanary(text: string): string | undefined {
  return CANARIES.test(text) ? text.split('\n').find((line) => CANARIES.test(line)) : undefined;
}

function expectNoCanary(where: string, text: string): void {
  const found = findCanary(text);
  if (found !== undefined) throw new Error(`a secret in the ${where}: ${found}`);
}
