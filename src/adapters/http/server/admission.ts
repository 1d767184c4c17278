/** Limits the packages in progress, so that the kernel buffers for slow readers are bounded; further requests wait. */
import type { Socket } from 'node:net';
import { overloaded, type RefusedError } from './problem.ts';
import { UnreadBodies } from './unread-bodies.ts';

/**
 * The memory of one body for a reader that reads nothing: 4 MiB were measured on loopback, for both ends. The rest is for
 * the memory of waiting requests in the process.
 */
const MAX_HELD_BYTES = 7 * 1024 * 1024;
/** A body that fits into the buffer of the socket does not wait. */
const MAX_FREE_BYTES = 64 * 1024;
/** The interval of the search for stalled readers, and for bodies that were read, while requests wait. */
const LOOK_MS = 50;

export interface AdmissionLimits {
  /** The kernel memory for all bodies that are being sent. */
  readonly maxHeldBytes: number;
  /** Packages in progress, including waiting ones; below the limit of connections, so that probes always get one. */
  readonly maxRunning: number;
  readonly maxRunningPerClient: number;
  /** The longest wait before the head. Clients wait 10 s for it. */
  readonly maxWaitMs: number;
  /** A reader that reads nothing for this long loses its place if others wait. */
  readonly floorMs: number;
}

/** The connections that stay free for probes, metrics and refusals. */
export const OTHER_CONNECTIONS = 64;

export const ADMISSION_LIMITS: Omit<AdmissionLimits, 'maxHeldBytes'> = {
  maxRunning: 2048 - OTHER_CONNECTIONS,
  maxRunningPerClient: 64,
  maxWaitMs: 7000,
  floorMs: 5000,
};

interface AdmissionUsage {
  /** Requests for packages and manifests, including waiting ones. */
  readonly running: number;
  readonly sending: number;
  readonly waiting: number;
  readonly refused: number;
  /** Readers that lost their places to others. */
  readonly displaced: number;
}

/** The place of a body that is being sent. */
export interface Place {
  /** Reports that the kernel buffer is full, because the reader reads nothing. */
  blocked(): void;
  /** Reports that the kernel has accepted the bytes. */
  taken(): void;
  /** Ends the place. With `socket`, the kernel memory of its reader counts until the reader has read it. */
  release(socket?: Socket): void;
}

interface Sender {
  readonly bytes: number;
  readonly displace: () => void;
  blockedAt: number | undefined;
}

interface Waiting {
  readonly bytes: number;
  readonly admit: () => void;
}

export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #runningOf = new Map<string, number>();
  readonly #senders = new Set<Sender>();
  /** In the order of arrival. */
  readonly #waiting = new Set<Waiting>();
  readonly #unread: UnreadBodies;
  #running = 0;
  #heldBytes = 0;
  #refused = 0;
  #displaced = 0;
  #looking: NodeJS.Timeout | undefined;

  constructor(limits: AdmissionLimits) {
    this.#limits = limits;
    this.#unread = new UnreadBodies(Math.max(limits.maxHeldBytes / 2, MAX_HELD_BYTES), (bytes) => {
      this.#release(bytes);
    });
  }

  get usage(): AdmissionUsage {
    return {
      running: this.#running,
      sending: this.#senders.size,
      waiting: this.#waiting.size,
      refused: this.#refused,
      displaced: this.#displaced,
    };
  }

  /** Counts a request for a package until the returned function is called. @throws RefusedError */
  begin(client: string | undefined): () => void {
    const ofClient = client === undefined ? 0 : (this.#runningOf.get(client) ?? 0);
    if (ofClient >= this.#limits.maxRunningPerClient)
      throw this.#refuse('this client fetches too many packages at a time');
    if (this.#running >= this.#limits.maxRunning) throw this.#refuse('too many packages are fetched at a time');
    this.#running++;
    if (client !== undefined) this.#runningOf.set(client, ofClient + 1);
    return () => {
      this.#running--;
      if (client === undefined) return;
      const left = (this.#runningOf.get(client) ?? 1) - 1;
      if (left === 0) this.#runningOf.delete(client);
      else this.#runningOf.set(client, left);
    };
  }

  /** Reports a next request on the connection: its client should have read all earlier responses. */
  asksAgain(socket: Socket): void {
    if (!this.#unread.claim(socket)) this.#heldBytes -= this.#unread.look();
  }

  /** Returns the place of a body that can be sent at once; undefined if it must wait. `displace` ends a stalled response. */
  freePlace(bodyBytes: number, displace: () => void): Place | undefined {
    if (bodyBytes <= MAX_FREE_BYTES) return FREE_PLACE;
    const bytes = Math.min(bodyBytes, MAX_HELD_BYTES);
    return this.#waiting.size === 0 && this.#fits(bytes) ? this.#take(bytes, displace) : undefined;
  }

  /** Waits for the place, in the order of the calls. Rejects with RefusedError after `maxWaitMs`, or as `gone`. */
  async place(bodyBytes: number, displace: () => void, gone: AbortSignal): Promise<Place> {
    const free = this.freePlace(bodyBytes, displace);
    if (free !== undefined) return free;
    const bytes = Math.min(bodyBytes, MAX_HELD_BYTES);
    await this.#wait(bytes, gone);
    return this.#take(bytes, displace);
  }

  #take(bytes: number, displace: () => void): Place {
    const sender = { bytes, displace, blockedAt: undefined as number | undefined };
    this.#senders.add(sender);
    return {
      blocked: () => {
        sender.blockedAt ??= performance.now();
      },
      taken: () => {
        sender.blockedAt = undefined;
      },
      release: (socket) => {
        if (!this.#senders.delete(sender)) return;
        if (socket === undefined) this.#release(bytes);
        else this.#unread.add(socket, bytes);
      },
    };
  }

  /** A body that is larger than the whole budget is sent alone. */
  #fits(bytes: number): boolean {
    if (this.#exceeds(bytes)) this.#heldBytes -= this.#unread.look();
    if (this.#exceeds(bytes)) return false;
    this.#heldBytes += bytes;
    return true;
  }

  #exceeds(bytes: number): boolean {
    return this.#heldBytes > 0 && this.#heldBytes + bytes > this.#limits.maxHeldBytes;
  }

  async #wait(bytes: number, gone: AbortSignal): Promise<void> {
    gone.throwIfAborted();
    const turn = Promise.withResolvers<undefined>();
    const waiting: Waiting = {
      bytes,
      admit: () => {
        turn.resolve(undefined);
      },
    };
    const leave = (): void => {
      turn.reject(gone.reason as Error);
    };
    const patience = setTimeout(() => {
      turn.reject(this.#refuse('too many packages are being sent'));
    }, this.#limits.maxWaitMs);
    gone.addEventListener('abort', leave, { once: true });
    this.#waiting.add(waiting);
    this.#looking ??= setInterval(
      () => {
        this.#displaceStalled();
      },
      Math.min(LOOK_MS, this.#limits.floorMs),
    );
    try {
      await turn.promise;
    } catch (error) {
      // The wait failed in the turn of its admission, so the room is released.
      if (!this.#waiting.has(waiting)) this.#release(bytes);
      throw error;
    } finally {
      clearTimeout(patience);
      gone.removeEventListener('abort', leave);
      this.#waiting.delete(waiting);
      this.#admit();
    }
  }

  #release(bytes: number): void {
    this.#heldBytes -= bytes;
    this.#admit();
  }

  #admit(): void {
    for (const waiting of this.#waiting) {
      if (!this.#fits(waiting.bytes)) break;
      this.#waiting.delete(waiting);
      waiting.admit();
    }
    if (this.#waiting.size > 0) return;
    clearInterval(this.#looking);
    this.#looking = undefined;
  }

  /** Ends at most as many stalled readers as requests wait, first those with complete bodies: they hold kernel memory. */
  #displaceStalled(): void {
    const floor = performance.now() - this.#limits.floorMs;
    this.#heldBytes -= this.#unread.look();
    for (const bytes of this.#unread.resetStalled(floor, this.#waiting.size)) {
      this.#displaced++;
      this.#heldBytes -= bytes;
    }
    this.#admit();
    const stalled = [...this.#senders].filter(({ blockedAt = floor }) => blockedAt < floor);
    for (const sender of stalled.slice(0, this.#waiting.size)) {
      this.#displaced++;
      sender.blockedAt = undefined;
      sender.displace();
    }
  }

  #refuse(message: string): RefusedError {
    this.#refused++;
    return overloaded(message);
  }
}

const FREE_PLACE: Place = { blocked: () => undefined, taken: () => undefined, release: () => undefined };
