/** Retries work for which no client waits while its registry throttles it. */
import { UpstreamThrottledError } from '../../domain/errors.ts';

/** Each wait is at most a minute, so this is at most ten minutes; after that the throttling counts as a refusal. */
const MAX_WAITS = 10;

/** Repeats `attempt` while it rejects with UpstreamThrottledError, each time after the wait of the error. */
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
