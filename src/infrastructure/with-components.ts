/** Runs components of the service without the service, for commands that fetch as the service does. */
import { setTimeout as sleep } from 'node:timers/promises';
import { CommandFailure, type Terminal } from '../adapters/cli/command.ts';
import { formatError } from '../adapters/cli/format.ts';
import { createLogger } from '../adapters/log/logger.ts';
import { createContainer } from './container/container.ts';
import { T } from './container/tokens.ts';
import { Lifecycle } from './lifecycle.ts';
import type { Settings } from './settings.ts';

type Container = Awaited<ReturnType<typeof createContainer>>;

/** The time limit for the first list of a cluster's configuration. */
const READY_MS = 30_000;
const READY_INTERVAL_MS = 50;

/**
 * Starts the components in order, does the work, and stops them in reverse. An interruption ends their downloads.
 * @throws CommandFailure if they do not start, or are not ready in time; and the errors of the work
 */
export async function withComponents<Outcome>(
  settings: Settings,
  tokens: readonly (typeof T.STORE_COMPONENT)[],
  { version, environment, interrupted }: Terminal,
  work: (container: Container) => Promise<Outcome>,
): Promise<Outcome> {
  let lastWarning = '';
  const logger = createLogger('warn', { write: (line) => (lastWarning = line) });
  const { container, lifecycle } = await orFailure(async () => {
    const made = await createContainer({ settings, logger, version, environment });
    return { container: made, lifecycle: new Lifecycle(tokens.map((token) => made.get(token))) };
  });
  const abort = (): void => {
    container.get(T.SHUTDOWN).abort();
  };
  try {
    await orFailure(() => lifecycle.start());
    interrupted.addEventListener('abort', abort);
    await ready(lifecycle, interrupted, () => reasonIn(lastWarning));
    return await work(container);
  } finally {
    interrupted.removeEventListener('abort', abort);
    abort();
    await lifecycle.stop();
  }
}

async function orFailure<Made>(make: () => Made | Promise<Made>): Promise<Made> {
  try {
    return await make();
  } catch (cause) {
    throw new CommandFailure(formatError(cause), { cause });
  }
}

async function ready(lifecycle: Lifecycle, interrupted: AbortSignal, why: () => string): Promise<void> {
  for (const until = performance.now() + READY_MS; ;) {
    const [missing] = await lifecycle.notReady();
    if (missing === undefined) return;
    if (performance.now() > until) throw new CommandFailure(`${missing}${why()}`);
    await sleep(READY_INTERVAL_MS, undefined, { signal: interrupted });
  }
}

/** Returns the error of the last log line. */
function reasonIn(line: string): string {
  if (line === '') return '';
  const { err } = JSON.parse(line) as { err?: { message?: string; causes?: string[] } };
  return [err?.message, ...(err?.causes ?? [])]
    .filter((part) => part !== undefined)
    .map((part) => `: ${part}`)
    .join('');
}
