/** The service under test: a real process with its own directory, in which it can be killed and started again. */
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { TestImage } from '../../test/support/image.ts';
import { eventually } from '../../test/support/eventually.ts';
import { ServiceProcess } from '../../test/support/service-process.ts';
import { get, type GetOptions, type Got } from './traffic/client.ts';
import { type BudgetSamples, BudgetWatch } from './validate/budget-watch.ts';
import { Metrics } from './validate/metrics.ts';
import { type Descriptors, descriptorsOf, residentBytes } from './validate/process-facts.ts';

export interface ServiceSetup {
  /** The directory of the service. It contains the cache unless `store.directory` is an absolute path. */
  readonly home: string;
  readonly settings: object;
  /** The value of `store.maxSize`. */
  readonly maxBytes: number;
  /** Undefined if the store is disabled. */
  readonly cacheDirectory: string | undefined;
  /** `NODE_OPTIONS` are appended to those of the bench. */
  readonly environment: Readonly<Record<string, string>>;
  readonly flags: readonly string[];
  readonly main?: string;
  readonly wrapper?: readonly string[];
  readonly onViolation: (violation: string) => void;
}

/** Memory and descriptors before the first request. */
export interface Idle {
  readonly descriptors: Descriptors;
  readonly residentBytes: number;
}

const WITNESS = join(import.meta.dirname, 'validate/dial-witness.ts');
/** The heap limit of a container of 256 MiB: a leak ends the process, and V8 collects garbage before it looks like a leak. */
const HEAP = '--max-old-space-size=128';

export class FaultedService {
  readonly setup: ServiceSetup;
  #budget: BudgetSamples = { count: 0, exceeded: 0, peakBytes: 0 };
  #process: ServiceProcess | undefined;
  #watch: BudgetWatch | undefined;
  #idle: Idle | undefined;
  /** The completed answers of `/package` since the last start. */
  #answers: Got[] = [];
  /** The number of requests to other routes and ports since the last start. */
  #others = 0;
  #readyMs = 0;
  #wasEnded = false;

  constructor(setup: ServiceSetup) {
    this.setup = setup;
  }

  /** Resolves when the service listens and is idle. Can be called again after `stop` and `kill`, with the same or other settings. */
  async start(settings: object = this.setup.settings): Promise<void> {
    const { home, flags, environment, main, wrapper, cacheDirectory, maxBytes } = this.setup;
    const began = performance.now();
    const witnessed = {
      NODE_OPTIONS: `--import=${WITNESS} ${HEAP} ${environment['NODE_OPTIONS'] ?? ''}`,
      DIAL_JOURNAL: this.#journal,
    };
    this.#process = await ServiceProcess.start(
      {
        settings,
        flags,
        environment: { ...environment, ...witnessed },
        ...(main !== undefined && { main }),
        ...(wrapper !== undefined && { wrapper }),
      },
      home,
    );
    this.#readyMs = performance.now() - began;
    this.#answers = [];
    this.#others = 0;
    this.#wasEnded = false;
    await this.metrics();
    this.rest();
    if (cacheDirectory !== undefined) {
      this.#watch = new BudgetWatch({ directory: cacheDirectory, pid: this.pid, maxBytes });
    }
  }

  /** Records the current numbers of descriptors as those of the idle service. */
  rest(): void {
    this.#idle = { descriptors: this.descriptors(), residentBytes: residentBytes(this.pid) };
  }

  /** Sends SIGTERM; resolves with the exit code. */
  async stop(): Promise<number | null> {
    this.#wasEnded = true;
    await this.#endWatch();
    return this.running.end('SIGTERM');
  }

  /** Sends SIGKILL. */
  async kill(): Promise<void> {
    this.#wasEnded = true;
    const killed = this.running.end('SIGKILL');
    await Promise.all([killed, this.#endWatch()]);
  }

  /** Sends a signal such as SIGSTOP or SIGCONT, and does not wait for its effect. */
  signal(signal: NodeJS.Signals): void {
    process.kill(this.pid, signal);
  }

  get isRunning(): boolean {
    return this.#process !== undefined && !this.#process.hasEnded;
  }

  /** Whether the process ended without `stop` or `kill`. */
  get hasCrashed(): boolean {
    return !this.isRunning && !this.#wasEnded;
  }

  get running(): ServiceProcess {
    if (this.#process === undefined) throw new Error('the service was not started');
    return this.#process;
  }

  get pid(): number {
    return this.running.pid;
  }

  get port(): number {
    return this.running.port;
  }

  /** The time from the start of the process until it listened. */
  get readyMs(): number {
    return this.#readyMs;
  }

  get idle(): Idle {
    if (this.#idle === undefined) throw new Error('the service was not started');
    return this.#idle;
  }

  get others(): number {
    return this.#others;
  }

  get answers(): readonly Got[] {
    return this.#answers;
  }

  /** All measurements of the cache until now. */
  get budget(): BudgetSamples {
    return this.#budget;
  }

  /** A request to `/package`. The answer is checked and counted. Never rejects. */
  async get(image: TestImage, options: GetOptions = {}): Promise<Got> {
    const answers = this.#answers;
    const got = this.#judged(this.port, await get(this.port, image, options));
    answers.push(got);
    return got;
  }

  /** A request to another route or port. The answer is checked, not counted. Never rejects. */
  async getAt(port: number, image: TestImage, options: GetOptions): Promise<Got> {
    this.#others++;
    return this.#judged(port, await get(port, image, options));
  }

  #judged(port: number, got: Got): Got {
    const report = this.setup.onViolation;
    if (got.verdict === 'wrong') report(`a response with wrong content completed: ${got.why}`);
    if (got.verdict === 'late')
      report(`a request did not end within its time limit; ${String(got.bytes)} bytes had arrived`);
    if (got.status === 500 && port === this.port) report(`500: ${got.why}`);
    if (got.canary !== undefined) report(`a secret in an answer: ${got.canary}`);
    return got;
  }

  /** A request to a route such as `/readyz`. */
  async probe(path: string): Promise<{ status: number; body: string }> {
    const response = await fetch(`http://127.0.0.1:${String(this.port)}${path}`, { headers: { connection: 'close' } });
    return { status: response.status, body: await response.text() };
  }

  metrics(): Promise<Metrics> {
    return Metrics.of(this.port);
  }

  /** Resolves when at least `count` requests since the last start have a hit or a download, so that their clients read. */
  async begun(count: number): Promise<void> {
    await eventually(async () => {
      const begun = (await this.metrics()).sum('cache_requests_total');
      if (begun < count) throw new Error(`${String(begun)} of ${String(count)} packages have begun`);
    });
  }

  descriptors(): Descriptors {
    return descriptorsOf(this.pid, this.setup.cacheDirectory ?? this.setup.home);
  }

  /** `address:port` of all connection attempts since the directory was created. */
  async dials(): Promise<ReadonlySet<string>> {
    const text = await readFile(this.#journal, 'utf8').catch(() => '');
    return new Set(text.split('\n').filter((line) => line !== ''));
  }

  get #journal(): string {
    return resolve(this.setup.home, 'dials');
  }

  async #endWatch(): Promise<void> {
    const watch = this.#watch;
    this.#watch = undefined;
    const samples = await watch?.end();
    if (samples === undefined) return;
    this.#budget = {
      count: this.#budget.count + samples.count,
      exceeded: this.#budget.exceeded + samples.exceeded,
      peakBytes: Math.max(this.#budget.peakBytes, samples.peakBytes),
    };
  }
}
