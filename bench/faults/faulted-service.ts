/** The service under fault: a real process in a home of its own that can be killed and started again there. */
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
  /** Where it lives; its cache is below, unless `store.directory` of the settings is an absolute path. */
  readonly home: string;
  readonly settings: object;
  /** As `store.maxSize` says. */
  readonly maxBytes: number;
  /** Undefined with a store that is switched off. */
  readonly cacheDirectory: string | undefined;
  /** `NODE_OPTIONS` are added to ours. */
  readonly environment: Readonly<Record<string, string>>;
  readonly flags: readonly string[];
  readonly main?: string;
  readonly wrapper?: readonly string[];
  readonly onViolation: (violation: string) => void;
}

/** How it was before there was anything to do. */
export interface Idle {
  readonly descriptors: Descriptors;
  readonly residentBytes: number;
}

const WITNESS = join(import.meta.dirname, 'validate/dial-witness.ts');
/** As in a container of 256 MiB: what leaks ends the process, and what is only not yet collected is not taken for a leak. */
const HEAP = '--max-old-space-size=128';

export class FaultedService {
  readonly setup: ServiceSetup;
  #budget: BudgetSamples = { count: 0, exceeded: 0, peakBytes: 0 };
  #process: ServiceProcess | undefined;
  #watch: BudgetWatch | undefined;
  #idle: Idle | undefined;
  /** The answers of `/package` that clients got since the last start, without running ones. */
  #answers: Got[] = [];
  /** The requests of other routes and ports since the last start. */
  #others = 0;
  #readyMs = 0;
  #wasEnded = false;

  constructor(setup: ServiceSetup) {
    this.setup = setup;
  }

  /** Resolves when it listens and is at rest. Can be called again behind `stop` and `kill`, with other settings too. */
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

  /** Takes the descriptors that are open now as those of the idle service. */
  rest(): void {
    this.#idle = { descriptors: this.descriptors(), residentBytes: residentBytes(this.pid) };
  }

  /** By SIGTERM; resolves with the exit code. */
  async stop(): Promise<number | null> {
    this.#wasEnded = true;
    await this.#endWatch();
    return this.running.end('SIGTERM');
  }

  /** By SIGKILL, at once. */
  async kill(): Promise<void> {
    this.#wasEnded = true;
    const killed = this.running.end('SIGKILL');
    await Promise.all([killed, this.#endWatch()]);
  }

  /** `SIGSTOP`, `SIGCONT`; it is not waited for. */
  signal(signal: NodeJS.Signals): void {
    process.kill(this.pid, signal);
  }

  get isRunning(): boolean {
    return this.#process !== undefined && !this.#process.hasEnded;
  }

  /** It ended without `stop` and `kill`. */
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

  /** From the start of the process until it listened. */
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

  /** The samples of all the time until now. */
  get budget(): BudgetSamples {
    return this.#budget;
  }

  /** As a client of `/package`: judged at once, and counted. Never rejects. */
  async get(image: TestImage, options: GetOptions = {}): Promise<Got> {
    const answers = this.#answers;
    const got = this.#judged(this.port, await get(this.port, image, options));
    answers.push(got);
    return got;
  }

  /** As a client of another route or port: judged, and not counted. Never rejects. */
  async getAt(port: number, image: TestImage, options: GetOptions): Promise<Got> {
    this.#others++;
    return this.#judged(port, await get(port, image, options));
  }

  #judged(port: number, got: Got): Got {
    const report = this.setup.onViolation;
    if (got.verdict === 'wrong') report(`a client got something else as if it were right: ${got.why}`);
    if (got.verdict === 'late')
      report(`a request did not end within its budget, ${String(got.bytes)} bytes were there`);
    if (got.status === 500 && port === this.port) report(`500: ${got.why}`);
    if (got.canary !== undefined) report(`a secret in an answer: ${got.canary}`);
    return got;
  }

  /** For `/readyz` and the like. */
  async probe(path: string): Promise<{ status: number; body: string }> {
    const response = await fetch(`http://127.0.0.1:${String(this.port)}${path}`, { headers: { connection: 'close' } });
    return { status: response.status, body: await response.text() };
  }

  metrics(): Promise<Metrics> {
    return Metrics.of(this.port);
  }

  /** Resolves when so many packages have been found or begun to arrive since the last start: their clients read, or wait to. */
  async begun(count: number): Promise<void> {
    await eventually(async () => {
      const begun = (await this.metrics()).sum('cache_requests_total');
      if (begun < count) throw new Error(`${String(begun)} of ${String(count)} packages have begun`);
    });
  }

  descriptors(): Descriptors {
    return descriptorsOf(this.pid, this.setup.cacheDirectory ?? this.setup.home);
  }

  /** `address:port` of all dials since the home exists. */
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
