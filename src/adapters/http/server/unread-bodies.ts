/** Bodies that are sent as far as the process can tell, and that the system still holds for readers which do not take them. */
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { resetConnection } from './reset-connection.ts';

/** The tables of IPv4 and of IPv6; absent where the system is no Linux, or has no IPv6. */
const TABLES = ['/proc/self/net/tcp', '/proc/self/net/tcp6'];
/** The ports of a connection that is open to one side at least, and the bytes of its send queue (proc_net_tcp in the documents of Linux). */
const CONNECTION = /: [0-9A-F]+:([0-9A-F]{4}) [0-9A-F]+:([0-9A-F]{4}) (?:01|04|08) ([0-9A-F]{8}):/g;
/** A table of 10 000 connections takes 10 ms to read. */
const LOOK_MS = 500;

interface UnreadBody {
  readonly bytes: number;
  /** Bytes of the send queue when it was looked at last, and since when they are no fewer. */
  queued: number;
  sinceMs: number;
  readonly onClosed: () => void;
}

export class UnreadBodies {
  readonly #onTaken: (bytes: number) => void;
  readonly #bodies = new Map<Socket, UnreadBody>();
  #lookedMs = -Infinity;

  /** `onTaken` hears of a body when its connection is closed, or asks for the next one. */
  constructor(onTaken: (bytes: number) => void) {
    this.#onTaken = onTaken;
  }

  /** Remembers a body of which the system may hold so many bytes. */
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

  /** Asks the system, twice a second at most, and forgets bodies that were taken; returns how many bytes they had. */
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

  /** Resets the connections of so many readers at most that have taken nothing since then; returns the bytes of each. */
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

/** By the ports of both ends. */
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
