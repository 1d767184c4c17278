/** How many packages are asked for and sent at a time: what the system holds for slow readers is bounded, and others wait. */
import type { Socket } from 'node:net';
import { overloaded, type RefusedError } from './problem.ts';
import { UnreadBodies } from './unread-bodies.ts';

/**
 * The memory of one body for a reader that takes nothing: 4 MiB were measured on loopback, both ends together. The rest is
 * for the memory that waiting requests hold in the process.
 */
const MAX_HELD_BYTES = 7 * 1024 * 1024;
/** A body that fits the socket's buffer need not wait. */
const MAX_FREE_BYTES = 64 * 1024;
/** How often readers below the floor pace are looked for while others wait. */
const LOOK_MS = 500;

export interface AdmissionLimits {
  /** The system's memory for all bodies that are being sent. */
  readonly maxHeldBytes: number;
  /** Packages at a time, those that wait included; below the limit of connections, so that probes always have one. */
  readonly maxRunning: number;
  readonly maxRunningPerClient: number;
  /** Before the head. Clients wait 10 s for it. */
  readonly maxWaitMs: number;
  /** A reader that does not take what is sent for so long loses its place when others wait. */
  readonly floorMs: number;
}

/** Connections that packages leave to probes, metrics and answers that refuse. */
export const OTHER_CONNECTIONS = 64;

export const ADMISSION_LIMITS: Omit<AdmissionLimits, 'maxHeldBytes'> = {
  maxRunning: 2048 - OTHER_CONNECTIONS,
  maxRunningPerClient: 64,
  maxWaitMs: 7000,
  floorMs: 5000,
};

interface AdmissionUsage {
  /** Requests for packages and manifests, those that wait included. */
  readonly running: number;
  readonly sending: number;
  readonly waiting: number;
  readonly refused: number;
  /** Readers that lost their places to others. */
  readonly displaced: number;
}

/** The place of a body that is being sent. */
export interface Place {
  /** The system has no room for the next bytes, since the reader takes none. */
  blocked(): void;
  /** The system has taken them. */
  taken(): void;
  /** The body is over. What the system holds for its reader counts on, when the socket is given, until that is taken. */
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
  /** In the order in which they came. */
  readonly #waiting = new Set<Waiting>();
  readonly #unread = new UnreadBodies((bytes) => {
    this.#release(bytes);
  });
  #running = 0;
  #heldBytes = 0;
  #refused = 0;
  #displaced = 0;
  #looking: NodeJS.Timeout | undefined;

  constructor(limits: AdmissionLimits) {
    this.#limits = limits;
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

  /** Counts a request for a package until the function that it returns is called. @throws RefusedError */
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

  /** The client of this connection has read its answers: it asks for more. */
  asksAgain(socket: Socket): void {
    this.#unread.taken(socket);
  }

  /**
   * The place of a body of so many bytes that may be sent at once; undefined when it has to wait. `displace` ends it when its
   * reader takes nothing while others wait.
   */
  freePlace(bodyBytes: number, displace: () => void): Place | undefined {
    if (bodyBytes <= MAX_FREE_BYTES) return FREE_PLACE;
    const bytes = Math.min(bodyBytes, MAX_HELD_BYTES);
    return this.#waiting.size === 0 && this.#fits(bytes) ? this.#take(bytes, displace) : undefined;
  }

  /**
   * The same when its turn has come, in the order of the calls. Rejects with RefusedError after `maxWaitMs`, or with the
   * reason of `gone`.
   */
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
      // An admission in the same turn is given back.
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

  /** As many as wait, those whose bodies are over first: a reader that takes nothing holds the memory that others could be served from. */
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
