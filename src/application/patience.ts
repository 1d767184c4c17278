/** For work that nobody waits for: an upstream that asks for patience gets it. */
import { UpstreamThrottledError } from '../domain/errors.ts';

/** Of at most a minute each, so ten minutes: then it is not throttling any more, it is refusing. */
const MAX_WAITS = 10;

/** Does it again for as long as it rejects with UpstreamThrottledError, after the wait that this asks for. */
export async function patiently<Outcome>(attempt: () => Promise<Outcome>, signal: AbortSignal): Promise<Outcome> {
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
