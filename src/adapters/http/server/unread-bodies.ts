/** Bodies that the process has sent completely, and that the kernel still holds for readers that do not read them. */
import type { Socket } from 'node:net';
import { resetConnection } from './connections.ts';
import { readSendQueues } from './send-queues.ts';

/** The interval of the reads is this many times as long as a read: a table of 10 000 connections takes 10 ms. */
const READ_SHARE = 20;
const MIN_LOOK_MS = 25;
/** A response of this size may be unread when the next request comes; it includes what TLS adds to the bytes. */
const MAX_UNREAD_BYTES = 64 * 1024;

interface UnreadBody {
  readonly bytes: number;
  /** The bytes of the send queue at the last look, and the time since which they have not decreased. */
  queued: number;
  sinceMs: number;
  readonly onClosed: () => void;
}

export class UnreadBodies {
  readonly #maxClaimedBytes: number;
  readonly #onTaken: (bytes: number) => void;
  readonly #bodies = new Map<Socket, UnreadBody>();
  /** The bytes that each connection had got when its client sent its last request, which it does after it has read them. */
  readonly #claims = new Map<Socket, number>();
  /** The bytes of all claims that no look has verified. */
  #claimedBytes = 0;
  #nextLookMs = -Infinity;

  /**
   * `onTaken` gets the size of a body when its connection is closed, or when its client claims to have read it. After claims of
   * `maxClaimedBytes` a look must verify them.
   */
  constructor(maxClaimedBytes: number, onTaken: (bytes: number) => void) {
    this.#maxClaimedBytes = maxClaimedBytes;
    this.#onTaken = onTaken;
  }

  /** Adds a body of which the kernel may hold this many bytes. */
  add(socket: Socket, bytes: number): void {
    this.#taken(socket);
    if (socket.destroyed) {
      this.#onTaken(bytes);
      return;
    }
    const onClosed = (): void => {
      this.#taken(socket);
    };
    socket.once('close', onClosed);
    this.#bodies.set(socket, { bytes, queued: Infinity, sinceMs: performance.now(), onClosed });
  }

  /**
   * A client that sends its next request claims to have read all earlier responses. This is believed at once, because waiting
   * for a look halved the speed of honest clients. Returns false if a look must verify the claims.
   */
  claim(socket: Socket): boolean {
    if (socket.destroyed) return true;
    const before = this.#claims.get(socket);
    if (before === undefined) socket.once('close', () => this.#claims.delete(socket));
    this.#claims.set(socket, socket.bytesWritten);
    this.#claimedBytes += socket.bytesWritten - (before ?? 0);
    this.#taken(socket);
    return this.#claimedBytes <= this.#maxClaimedBytes;
  }

  /**
   * Reads the send queues, unless it is too early, and removes bodies that were read; returns the number of their bytes. Resets
   * the connection of a client that has sent a request before it has read the responses to earlier ones.
   */
  look(): number {
    const now = performance.now();
    if (now < this.#nextLookMs || (this.#bodies.size === 0 && this.#claimedBytes === 0)) return 0;
    const queueOf = readSendQueues();
    this.#nextLookMs = now + Math.max(MIN_LOOK_MS, (performance.now() - now) * READ_SHARE);
    for (const [socket, before] of this.#claims) {
      const later = socket.bytesWritten - before;
      if (queueOf(socket) > later + later / 64 + MAX_UNREAD_BYTES) resetConnection(socket);
    }
    this.#claimedBytes = 0;
    let taken = 0;
    for (const [socket, body] of this.#bodies) {
      const queued = queueOf(socket);
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

  #taken(socket: Socket): void {
    const bytes = this.#forget(socket);
    if (bytes > 0) this.#onTaken(bytes);
  }

  #forget(socket: Socket): number {
    const body = this.#bodies.get(socket);
    if (body === undefined) return 0;
    this.#bodies.delete(socket);
    socket.off('close', body.onClosed);
    return body.bytes;
  }
}
