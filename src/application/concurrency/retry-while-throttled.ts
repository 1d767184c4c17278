/** Retries work for which no client waits, as long as its registry throttles it. */
import { UpstreamThrottledError } from '../../domain/errors.ts';

/** Each wait is at most a minute, so ten minutes: after them the registry refuses rather than throttles. */
const MAX_WAITS = 10;

/** Tries again while `attempt` rejects with UpstreamThrottledError, each time after the wait that the error asks for. */
export async function retryWhileThrottled<Outcome>(
  attempt: () => Promise<Outcome>,
  signal: AbortSignal,
): Promise<Outcome> {
  for (let waits = 0; ; waits++) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof UpstreamThrottledError) || waits >= MAX_WAITS) throw error;
      await pause(error.retryAfterSeconds * 1000, signal);
    }
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', settle);
      if (signal.aborted) reject(signal.reason as Error);
      else resolve();
    };
    const timer = setTimeout(settle, ms);
    if (signal.aborted) settle();
    else signal.addEventListener('abort', settle);
  });
}
