/** The parts of a service without the service, for commands that fetch as it would. */
import { setTimeout as sleep } from 'node:timers/promises';
import { createContainer } from '../container/container.ts';
import { STOPPING, type STORE_PART } from '../container/tokens.ts';
import { createLogger } from '../../adapters/log/logger.ts';
import type { Part } from '../service.ts';
import type { Settings } from '../settings.ts';
import type { Terminal } from '../../adapters/cli/command.ts';
import { CommandFailure } from '../../adapters/cli/failures.ts';
import { formatError } from '../../adapters/cli/format-error.ts';

type Container = ReturnType<typeof createContainer>;

/** For the first list of what a cluster configures. */
const READY_MS = 30_000;
const READY_INTERVAL_MS = 50;

/**
 * Starts parts in their order, does the work, and stops them in reverse. Downloads of the parts end when it is interrupted.
 * @throws CommandFailure when they do not start, or are not ready in time; what the work throws
 */
export async function withParts<Outcome>(
  settings: Settings,
  tokens: readonly (typeof STORE_PART)[],
  { version, environment, interrupted }: Terminal,
  work: (container: Container) => Promise<Outcome>,
): Promise<Outcome> {
  let lastWarning = '';
  const logger = createLogger('warn', { write: (line) => (lastWarning = line) });
  const started: Part[] = [];
  let stopping: { abort(): void } | undefined;
  const abort = (): void => stopping?.abort();
  try {
    const container = await begin(async () => {
      const made = createContainer({ settings, logger, version, environment });
      stopping = made.get(STOPPING);
      for (const part of tokens.map((token) => made.get(token))) {
        started.push(part);
        await part.start?.();
      }
      return made;
    });
    interrupted.addEventListener('abort', abort);
    await ready(started, interrupted, () => reasonIn(lastWarning));
    return await work(container);
  } finally {
    interrupted.removeEventListener('abort', abort);
    abort();
    for (const part of started.toReversed()) await part.stop?.();
  }
}

async function begin<Made>(make: () => Promise<Made>): Promise<Made> {
  try {
    return await make();
  } catch (cause) {
    throw new CommandFailure(formatError(cause), { cause });
  }
}

async function ready(parts: readonly Part[], interrupted: AbortSignal, why: () => string): Promise<void> {
  for (const until = performance.now() + READY_MS; ;) {
    const missing = (await Promise.all(parts.map(async (part) => part.notReady?.()))).find(
      (reason) => reason !== undefined,
    );
    if (missing === undefined) return;
    if (performance.now() > until) throw new CommandFailure(`${missing}${why()}`);
    await sleep(READY_INTERVAL_MS, undefined, { signal: interrupted });
  }
}

/** The error in the last log line. */
function reasonIn(line: string): string {
  if (line === '') return '';
  const { err } = JSON.parse(line) as { err?: { message?: string; causes?: string[] } };
  return [err?.message, ...(err?.causes ?? [])]
    .filter((part) => part !== undefined)
    .map((part) => `: ${part}`)
    .join('');
}
