/** Bodies that the process has sent completely, and that the kernel still holds for readers that do not read them. */
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { resetConnection } from './reset-connection.ts';

/** The tables of IPv4 and of IPv6; absent if the system is not Linux, or has no IPv6. */
const TABLES = ['/proc/self/net/tcp', '/proc/self/net/tcp6'];
/**
 * Matches the ports of a connection that is open in at least one direction, and the bytes of its send queue (proc_net_tcp in
 * the Linux documentation).
 */
const CONNECTION = /: [0-9A-F]+:([0-9A-F]{4}) [0-9A-F]+:([0-9A-F]{4}) (?:01|04|08) ([0-9A-F]{8}):/g;
/** The interval of the reads. A table of 10 000 connections takes 10 ms to read. */
const LOOK_MS = 500;

interface UnreadBody {
  readonly bytes: number;
  /** The bytes of the send queue at the last look, and the time since which they have not decreased. */
  queued: number;
  sinceMs: number;
  readonly onClosed: () => void;
}

export class UnreadBodies {
  readonly #onTaken: (bytes: number) => void;
  readonly #bodies = new Map<Socket, UnreadBody>();
  #lookedMs = -Infinity;

  /** `onTaken` gets the size of a body when its connection is closed or gets its next request. */
  constructor(onTaken: (bytes: number) => void) {
    this.#onTaken = onTaken;
  }

  /** Adds a body of which the kernel may hold this many bytes. */
  add(socket: Socket, bytes: number): void {
    this.taken(socket);
    if (socket.destroyed) {
      this.#onTaken(bytes);
      return;
    }
    const onClosed = (): void => {
      this.taken(socket);
    };
    socket.once('close', onClosed);
    this.#bodies.set(socket, { bytes, queued: Infinity, sinceMs: performance.now(), onClosed });
  }

  taken(socket: Socket): void {
    const bytes = this.#forget(socket);
    if (bytes > 0) this.#onTaken(bytes);
  }

  /** Reads the tables, at most twice a second, and removes bodies that were read; returns the number of their bytes. */
  look(): number {
    const now = performance.now();
    if (this.#bodies.size === 0 || now < this.#lookedMs + LOOK_MS) return 0;
    this.#lookedMs = now;
    const queues = readSendQueues();
    let taken = 0;
    for (const [socket, body] of this.#bodies) {
      const queued = queues.get(`${String(socket.localPort)} ${String(socket.remotePort)}`) ?? 0;
      if (queued === 0) {
        taken += this.#forget(socket);
      } else if (queued < body.queued) {
        body.queued = queued;
        body.sinceMs = now;
      }
    }
    return taken;
  }

  /** Resets the connections of at most `most` readers that have read nothing since then; returns the bytes of each. */
  resetStalled(beforeMs: number, most: number): number[] {
    const stalled = [...this.#bodies].filter(([, { queued, sinceMs }]) => queued < Infinity && sinceMs < beforeMs);
    return stalled.slice(0, most).map(([socket]) => {
      resetConnection(socket);
      return this.#forget(socket);
    });
  }

  #forget(socket: Socket): number {
    const body = this.#bodies.get(socket);
    if (body === undefined) return 0;
    this.#bodies.delete(socket);
    socket.off('close', body.onClosed);
    return body.bytes;
  }
}

/** Returns the bytes of the send queues by the ports of both ends. */
function readSendQueues(): Map<string, number> {
  const queues = new Map<string, number>();
  for (const [, local = '', remote = '', queued = ''] of TABLES.flatMap((table) => [...readTable(table)])) {
    queues.set(`${String(parseInt(local, 16))} ${String(parseInt(remote, 16))}`, parseInt(queued, 16));
  }
  return queues;
}

function readTable(path: string): Iterable<RegExpMatchArray> {
  try {
    return readFileSync(path, 'latin1').matchAll(CONNECTION);
  } catch {
    return [];
  }
}
