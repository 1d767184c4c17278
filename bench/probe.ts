/** Waits for the first answer of a process that has just started. */
import { get, type IncomingMessage } from 'node:http';
import { get as getSecurely } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import type { MeasuredProcess } from './measured-process.ts';

const INTERVAL_MS = 2;
const TIMEOUT_MS = 60_000;

/** Resolves with the time of the first 200. `ca` is the CA of an https URL. */
export async function firstOk(url: string, asked: MeasuredProcess, ca?: string): Promise<number> {
  const deadline = performance.now() + TIMEOUT_MS;
  while ((await statusOf(url, ca)) !== 200) {
    asked.assertRuns();
    if (performance.now() > deadline) throw new Error(`no answer; printed: ${asked.output}`);
    await sleep(INTERVAL_MS);
  }
  return performance.now();
}

/** Resolves with the status when the head of the answer arrives; undefined without an answer. */
function statusOf(url: string, ca: string | undefined): Promise<number | undefined> {
  return new Promise((resolve) => {
    const listener = (response: IncomingMessage): void => {
      resolve(response.statusCode);
      response.destroy();
    };
    const request =
      ca === undefined ? get(url, { agent: false }, listener) : getSecurely(url, { agent: false, ca }, listener);
    request.on('error', () => {
      resolve(undefined);
    });
  });
}
