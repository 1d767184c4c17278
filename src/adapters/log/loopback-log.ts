/** Logs which clients the loopback port refuses, and changes of its certificates. */
import type { Logger } from 'pino';
import type { Refusal } from '../http/server/mutual-tls.ts';

const QUIET_MS = 60_000;

/** Logs the first refusal, and then one line for each minute with further ones. */
export function refusalLog(logger: Logger): (refusal: Refusal) => void {
  let refused: Partial<Record<Refusal, number>> = {};
  let timer: NodeJS.Timeout | undefined;
  const write = (): void => {
    timer = undefined;
    if (Object.keys(refused).length === 0) return;
    logger.warn({ refused }, 'clients of the loopback port refused');
    refused = {};
    timer = setTimeout(write, QUIET_MS).unref();
  };
  return (refusal) => {
    refused[refusal] = (refused[refusal] ?? 0) + 1;
    if (timer === undefined) write();
  };
}

/** `err` is the reason why changed files cannot be used. */
export function certificateLog(logger: Logger): (err?: unknown) => void {
  return (err) => {
    if (err === undefined) logger.info('certificates of the loopback port read again');
    else logger.warn({ err }, 'certificates of the loopback port cannot be used, keeping the previous ones');
  };
}
