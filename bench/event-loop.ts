/** Reads the longest delay of the event loop from the metric of the service. */
import { setTimeout as sleep } from 'node:timers/promises';

/** The metric measures a timer with this period (prom-client, `eventLoopMonitoringPrecision`). */
const PERIOD_MS = 10;
const METRIC = /^nodejs_eventloop_lag_max_seconds (\S+)$/m;
/** The wait for turns that the work causes after its end. */
const AFTER_MS = 200;
const LOOK_MS = 500;

/** Returns the longest turn during `work` in milliseconds. */
export async function longestTurn(base: string, work: () => Promise<unknown>): Promise<number> {
  await longestSinceLastLook(base);
  await work();
  await sleep(AFTER_MS);
  return longestSinceLastLook(base);
}

/** Returns the longest turn until the metrics match `sign`; rejects after `withinMs`. */
export async function longestTurnUntil(base: string, sign: RegExp, withinMs: number): Promise<number> {
  const deadline = performance.now() + withinMs;
  for (let longest = 0; ;) {
    const text = await metrics(base);
    longest = Math.max(longest, longestIn(text));
    if (sign.test(text)) return longest;
    if (performance.now() > deadline) throw new Error(`the metrics never show ${sign.source}`);
    await sleep(LOOK_MS);
  }
}

/** Returns the longest turn since the previous call, because each read resets the metric. */
export async function longestSinceLastLook(base: string): Promise<number> {
  return longestIn(await metrics(base));
}

function longestIn(text: string): number {
  const seconds = METRIC.exec(text)?.[1];
  if (seconds === undefined) throw new Error('the service shows no delay of its event loop');
  return Math.max(0, 1000 * Number(seconds) - PERIOD_MS);
}

async function metrics(base: string): Promise<string> {
  return (await fetch(`${base}/metrics`)).text();
}
