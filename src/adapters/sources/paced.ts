/** Measures the rate of a body, and ends the body with an error if it is too slow for a second. */

/** The length of one measurement. */
const WINDOW_MS = 1000;
const TICK_MS = 250;
/** Shorter measurements depend too much on chance. */
const MIN_MEASURED_MS = 20;
const MIN_MEASURED_BYTES = 256 * 1024;

export class TooSlowError extends Error {
  override readonly name = 'TooSlowError';
  constructor(bytesPerSecond: number) {
    super(`${String(Math.round(bytesPerSecond / 1024))} KiB per second`);
  }
}

interface PacedOptions {
  /** Called with bytes per second. */
  readonly onRate: (rate: number) => void;
  /** Called once for each second of waiting; returns whether the body is too slow to continue. */
  readonly isTooSlow: (rate: number) => boolean;
  /** Ends the body; then its iteration rejects. */
  readonly end: (reason: Error) => void;
}

/** Yields the chunks unchanged. Only the time of waiting for them counts, not the time of the reader. */
export async function* paced(
  chunks: AsyncIterable<Uint8Array>,
  { onRate, isTooSlow, end }: PacedOptions,
): AsyncGenerator<Uint8Array> {
  let waited = 0;
  let bytes = 0;
  let since: number | undefined = performance.now();
  let tooSlow: TooSlowError | undefined;
  const elapsed = (): number => waited + (since === undefined ? 0 : performance.now() - since);
  const watchdog = setInterval(() => {
    const ms = elapsed();
    if (ms < WINDOW_MS) return;
    const rate = (bytes * 1000) / ms;
    onRate(rate);
    waited = bytes = 0;
    if (since !== undefined) since = performance.now();
    if (!isTooSlow(rate)) return;
    tooSlow = new TooSlowError(rate);
    end(tooSlow);
  }, TICK_MS);
  try {
    for await (const chunk of chunks) {
      waited += performance.now() - since;
      since = undefined;
      bytes += chunk.byteLength;
      yield chunk;
      since = performance.now();
    }
    const ms = elapsed();
    if (ms >= MIN_MEASURED_MS && bytes >= MIN_MEASURED_BYTES) onRate((bytes * 1000) / ms);
  } catch (error) {
    throw tooSlow ?? error;
  } finally {
    clearInterval(watchdog);
  }
}
