/** `top`: shows the activity of a running service until it is ended. */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  command,
  CommandFailure,
  EXIT_CODE,
  EXIT_CODES,
  type ExitCode,
  JSON_FLAG,
  type Terminal,
  UsageError,
  writeJson,
} from './command.ts';
import { LiveScreen } from './live-screen.ts';
import { ACCESS_FLAGS, readAccess, type ServiceAccess } from './service-access.ts';
import { readStatus, type ServiceStatus } from './service-status.ts';
import { type Running, type Sample, sampleOf } from './top-sample.ts';
import { picture, plainLine } from './top-view.ts';

const SECONDS = { usual: 2, least: 0.1, most: 3600 };
const MOST_SAMPLES = 1_000_000;

export const TOP = command({
  about: `Reads the state of a running service, on this machine or at --url, at an interval. It shows the downloads with their \
speed and waiting clients; requests, hits, bytes and failures since the last reading and in the last hour; and the use of \
the cache. On a terminal the display changes in place; q and Ctrl-C end it. Elsewhere each reading is one line. If the \
service does not answer, the command says so and tries again. Times are by the clock of the service, in UTC. The bytes of \
a response count when it ends.`,
  flags: {
    ...ACCESS_FLAGS,
    interval: {
      type: 'string',
      value: 'SECONDS',
      about: `time between two readings; default ${String(SECONDS.usual)}`,
    },
    count: { type: 'string', value: 'NUMBER', about: 'number of readings; by default it goes on' },
    json: { ...JSON_FLAG, about: 'print each reading as one JSON document on a line instead' },
  },
  examples: [
    { to: 'the service of this machine', run: 'top' },
    {
      to: 'a master, from another machine, with the token of an operator',
      run: 'top --url https://master-0:4219 --token-file token --ca ca.crt',
    },
    { to: 'a line each minute, for a file', run: 'top --interval 60 >>top.log' },
    { to: 'the present state, for a script', run: 'top --count 1 --json' },
  ],
  exits: {
    0: 'ended by q or after --count',
    1: 'wrong flags, or the service did not answer the first time',
    130: EXIT_CODES[130],
  },
  async run({ flags }, terminal) {
    const interval = numberOf('interval', flags.interval, SECONDS.usual, SECONDS.least, SECONDS.most);
    const count = numberOf('count', flags.count, Infinity, 1, MOST_SAMPLES);
    if (count !== Infinity && !Number.isInteger(count)) throw new UsageError('--count must be a whole number');
    const looks = new Looks(await readAccess(flags), terminal);
    // A wrong address or token ends the command, because it is not an outage.
    const first = await looks.first();
    const isLive = flags.json !== true && terminal.stdout.isTTY === true && terminal.environment['TERM'] !== 'dumb';
    const watch = { looks, first, intervalMs: interval * 1000, count };
    return isLive ? watchLive(watch, terminal) : watchPlainly(watch, flags.json === true, terminal);
  },
});

/** @throws UsageError */
function numberOf(name: string, text: string | undefined, usual: number, least: number, most: number): number {
  if (text === undefined) return usual;
  const number = /^\d+(\.\d+)?$/.test(text) ? Number(text) : NaN;
  if (number >= least && number <= most) return number;
  throw new UsageError(`--${name} must be a number from ${String(least)} to ${String(most)}`);
}

/** Readings of one service, each compared with the one before. */
class Looks {
  readonly #access: ServiceAccess;
  readonly #terminal: Terminal;
  readonly #url: string;
  #last: ServiceStatus | undefined;

  constructor(access: ServiceAccess, terminal: Terminal) {
    this.#access = access;
    this.#terminal = terminal;
    this.#url = access.origin.origin;
  }

  /** @throws CommandFailure if there is no answer */
  async first(): Promise<Running> {
    return this.#running(await readStatus(this.#access, this.#terminal));
  }

  async next(signal: AbortSignal): Promise<Sample> {
    try {
      return this.#running(await readStatus(this.#access, { interrupted: signal }));
    } catch (error) {
      if (!(error instanceof CommandFailure)) throw error;
      return { state: 'away', url: this.#url, at: new Date().toISOString(), error: error.message };
    }
  }

  #running(status: ServiceStatus): Running {
    const sample = sampleOf(this.#url, status, this.#last);
    this.#last = status;
    return sample;
  }
}

interface Watch {
  readonly looks: Looks;
  readonly first: Running;
  readonly intervalMs: number;
  readonly count: number;
}

/** Rejects with the reason of `signal`, or an AbortError, if it is aborted. */
async function watch(
  { looks, first, intervalMs, count }: Watch,
  signal: AbortSignal,
  show: (sample: Sample) => void,
): Promise<void> {
  show(first);
  for (let shown = 1; shown < count; shown++) {
    await sleep(intervalMs, undefined, { signal });
    show(await looks.next(signal));
  }
}

async function watchPlainly(watched: Watch, isJson: boolean, { stdout, interrupted }: Terminal): Promise<ExitCode> {
  await watch(watched, interrupted, (sample) => {
    if (isJson) writeJson(stdout, sample);
    else stdout.write(`${plainLine(sample)}\n`);
  });
  return EXIT_CODE.done;
}

async function watchLive(watched: Watch, terminal: Terminal): Promise<ExitCode> {
  const { environment, interrupted } = terminal;
  const keys = new AbortController();
  let code: ExitCode = EXIT_CODE.done;
  let [shown, last]: [Sample, Running] = [watched.first, watched.first];
  const isColoured = (environment['NO_COLOR'] ?? '') === '';
  const draw = (): void => {
    screen.draw(picture(shown, last, { ...screen.size, isColoured }));
  };
  const screen = new LiveScreen(terminal, {
    quit: () => {
      keys.abort();
    },
    interrupt: () => {
      code = EXIT_CODE.interrupted;
      keys.abort();
    },
    resize: draw,
  });
  try {
    await watch(watched, AbortSignal.any([interrupted, keys.signal]), (sample) => {
      shown = sample;
      if (sample.state !== 'away') last = sample;
      draw();
    });
  } catch (error) {
    if (!keys.signal.aborted) throw error;
  } finally {
    screen.close();
  }
  return code;
}
