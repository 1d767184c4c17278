/** One connection to the first of several addresses that answers (RFC 8305, section 5). */
import type { Socket } from 'node:net';
import { connectTimeout } from './connect-fault.ts';

/** Until the next address is tried beside those that have not answered. */
const HEAD_START_MS = 250;
/** A name may have hundreds; its owner says so. */
const MAX_ADDRESSES = 8;

/**
 * `open` begins to connect to an address. Resolves with the first socket that is connected and destroys the others.
 * Rejects with the error of the last address, since those of a family without a route fail first.
 */
export async function race<Made extends Socket>(
  addresses: readonly string[],
  open: (address: string) => Made,
  timeoutMs: number,
): Promise<Made> {
  const waiting = alternating(addresses).slice(0, MAX_ADDRESSES);
  const running = new Set<Made>();
  const { promise, resolve, reject } = Promise.withResolvers<Made>();
  let headStart: NodeJS.Timeout | undefined;
  const next = (): void => {
    clearTimeout(headStart);
    const address = waiting.shift();
    if (address === undefined) return;
    const socket = open(address);
    running.add(socket);
    socket.once('connect', () => {
      running.delete(socket);
      resolve(socket);
    });
    // Stays: the losers are destroyed while they connect.
    socket.on('error', (error) => {
      if (!running.delete(socket)) return;
      if (waiting.length > 0) next();
      else if (running.size === 0) reject(error);
    });
    if (waiting.length > 0) headStart = setTimeout(next, HEAD_START_MS);
  };
  const bound = setTimeout(() => {
    reject(connectTimeout(`no connection to ${addresses.join(', ')}`));
  }, timeoutMs);
  try {
    next();
    return await promise;
  } finally {
    clearTimeout(bound);
    clearTimeout(headStart);
    waiting.length = 0;
    for (const socket of running) socket.destroy();
  }
}

/** By turns from both families, beginning with that of the first. */
function alternating(addresses: readonly string[]): string[] {
  const isV6 = (address: string): boolean => address.includes(':');
  const begins = isV6(addresses[0] ?? '');
  const [first, second] = [
    addresses.filter((address) => isV6(address) === begins),
    addresses.filter((address) => isV6(address) !== begins),
  ];
  return Array.from({ length: Math.max(first.length, second.length) }, (_, turn) => [first[turn], second[turn]])
    .flat()
    .filter((address) => address !== undefined);
}
