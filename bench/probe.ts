/** When a process that has just been started gives its first answer. */
import { get } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { MeasuredProcess } from './measured-process.ts';

const INTERVAL_MS = 2;
const TIMEOUT_MS = 60_000;

/** Resolves with the time of the first 200. */
export async function firstOk(url: string, asked: MeasuredProcess): Promise<number> {
  const deadline = performance.now() + TIMEOUT_MS;
  while ((await statusOf(url)) !== 200) {
    asked.assertRuns();
    if (performance.now() > deadline) throw new Error(`no answer; printed: ${asked.output}`);
    await sleep(INTERVAL_MS);
  }
  return performance.now();
}

/** Resolves when the head of the answer is there; undefined without an answer. */
function statusOf(url: string): Promise<number | undefined> {
  return new Promise((resolve) => {
    const request = get(url, { agent: false }, (response) => {
      resolve(response.statusCode);
      response.destroy();
    });
    request.on('error', () => {
      resolve(undefined);
    });
  });
}
