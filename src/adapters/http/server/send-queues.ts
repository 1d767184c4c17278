/** The bytes that the kernel holds for each connection because the other end has not received them. */
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';

/** The tables of IPv4 and of IPv6; absent if the system is not Linux, or has no IPv6. */
const TABLES = ['/proc/self/net/tcp', '/proc/self/net/tcp6'];
/**
 * Matches the local port, the remote address and port, and the bytes of the send queue of a connection that is open in at least
 * one direction (proc_net_tcp in the Linux documentation).
 */
const CONNECTION = /: [0-9A-F]+:([0-9A-F]{4} [0-9A-F]+:[0-9A-F]{4}) (?:01|04|08) ([0-9A-F]{8}):/g;

/** Returns the bytes in the send queue of a connection, as they are now; 0 for a closed one. */
export function readSendQueues(): (socket: Socket) => number {
  const queues = new Map<string, number>();
  for (const [, ends = '', queued = ''] of TABLES.flatMap((table) => [...readTable(table)])) {
    queues.set(ends, parseInt(queued, 16));
  }
  return (socket) => queues.get(endsOf(socket)) ?? 0;
}

function readTable(path: string): Iterable<RegExpMatchArray> {
  try {
    return readFileSync(path, 'latin1').matchAll(CONNECTION);
  } catch {
    return [];
  }
}

/** Several clients may use the same port, each on its own address. */
function endsOf({ localPort = 0, remotePort = 0, remoteAddress = '' }: Socket): string {
  return `${hex(localPort, 4)} ${hexAddress(remoteAddress)}:${hex(remotePort, 4)}`;
}

/** The kernel writes an address in words of four bytes, each in the order of the processor. */
function hexAddress(address: string): string {
  const bytes = address.includes(':') ? bytesOfIPv6(address) : address.split('.').map(Number);
  const words = Array.from({ length: bytes.length / 4 }, (_, word) => bytes.slice(word * 4, word * 4 + 4).reverse());
  return words
    .flat()
    .map((byte) => hex(byte, 2))
    .join('');
}

function bytesOfIPv6(address: string): number[] {
  const [head = [], tail = []] = address
    .replace(/%.*/, '')
    .split('::')
    .map((part) =>
      part
        .split(':')
        .filter((group) => group !== '')
        .flatMap(bytesOfGroup),
    );
  return [...head, ...Array<number>(16 - head.length - tail.length).fill(0), ...tail];
}

/** `7f00`, or `127.0.0.1` as the last group of a mapped address. */
function bytesOfGroup(group: string): number[] {
  if (group.includes('.')) return group.split('.').map(Number);
  const value = parseInt(group, 16);
  return [value >> 8, value & 255];
}

function hex(value: number, digits: number): string {
  return value.toString(16).toUpperCase().padStart(digits, '0');
}
