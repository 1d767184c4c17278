/** Addresses to listen on: their syntax, and the reasons why a process cannot use one. */
import { createServer, isIP } from 'node:net';
import { errnoOf, StartError } from '../../../domain/errors.ts';

export interface ListenAddress {
  /** Undefined for all interfaces. */
  readonly host: string | undefined;
  readonly port: number;
}

export function isLoopback({ host = '' }: ListenAddress): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

/** Parses `127.0.0.1:5080`, `[::1]:5080`, and Go's `:5080` for all interfaces. */
export function parseListenAddress(text: string): ListenAddress | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]*)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65535) return undefined;
  const host = match[1] ?? match[2];
  return { host: host === '' ? undefined : host, port };
}

/** The causes that an operator can remove, by the error code of the system. */
const FAULTS: Readonly<Record<string, string | undefined>> = {
  EADDRINUSE: 'another process listens there: end it',
  EACCES: 'the user of the service may not open this port: take one above 1023',
  EADDRNOTAVAIL: 'this machine has no such address: take one that it has',
  ENOTFOUND: 'this machine cannot resolve the name: give its address',
  EAI_AGAIN: 'this machine cannot resolve the name: give its address',
};

/** Returns the error for the operator, or `error` itself if its cause has no known remedy. */
export function listenFault(error: unknown, address: ListenAddress, setting = 'server.listenAddress'): unknown {
  const code = errnoOf(error) ?? '';
  const fault = FAULTS[code];
  if (fault === undefined) return error;
  return new StartError(`cannot listen on ${formatAddress(address)} (${code}): ${fault}, or set another ${setting}`);
}

function formatAddress({ host = '', port }: ListenAddress): string {
  return `${host.includes(':') ? `[${host}]` : host}:${String(port)}`;
}

export interface ListenTroubles {
  /** Addresses that no process of this user can use. */
  readonly errors: string[];
  /** Addresses in use by another process, which may be the running service that a restart replaces. */
  readonly warnings: string[];
}

/** Opens each port and closes it again. */
export async function listenTroubles(
  addresses: Readonly<Record<string, ListenAddress | 'off' | undefined>>,
): Promise<ListenTroubles> {
  const troubles: ListenTroubles = { errors: [], warnings: [] };
  const all = Object.entries(addresses).flatMap(([setting, address]): [string, ListenAddress][] =>
    address === undefined || address === 'off' ? [] : [[setting, address]],
  );
  for (const [index, [setting, address]] of all.entries()) {
    const taken = all.slice(0, index).find(([, other]) => overlap(other, address));
    if (taken !== undefined) troubles.errors.push(`${setting}: needs another port than ${taken[0]}`);
    const error = await attempt(address);
    if (errnoOf(error) === 'EADDRINUSE') {
      const where = formatAddress(address);
      troubles.warnings.push(
        `${setting}: another process listens on ${where}; this is no mistake if it is the running service`,
      );
    } else if (error !== undefined) {
      const fault = listenFault(error, address, setting);
      troubles.errors.push(fault instanceof Error ? fault.message : 'unknown error');
    }
  }
  return troubles;
}

function overlap(a: ListenAddress, b: ListenAddress): boolean {
  return a.port === b.port && a.port !== 0 && (a.host === b.host || a.host === undefined || b.host === undefined);
}

function attempt(address: ListenAddress): Promise<Error | undefined> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once('error', resolve);
    server.listen(address, () => {
      server.close(resolve);
    });
  });
}
