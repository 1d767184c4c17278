/** The longest delay of the service's event loop, by its own metric. */
import { setTimeout as sleep } from 'node:timers/promises';

/** The metric is that of a timer with this period (prom-client, `eventLoopMonitoringPrecision`). */
const PERIOD_MS = 10;
const METRIC = /^nodejs_eventloop_lag_max_seconds (\S+)$/m;
/** For turns that the work has left behind. */
const AFTER_MS = 200;
const LOOK_MS = 500;

/** Milliseconds of the longest turn while `work` runs. */
export async function longestTurn(base: string, work: () => Promise<unknown>): Promise<number> {
  await longestSinceLastLook(base);
  await work();
  await sleep(AFTER_MS);
  return longestSinceLastLook(base);
}

/** The same until a look at the metrics finds `sign`; rejects after `withinMs`. */
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

/** Each look begins anew. */
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
