/** Sends a blob to a socket, in its turn and at the pace of the slower of the two. */
import type { Middleware, ParameterizedContext } from 'koa';
import type { ServerResponse } from 'node:http';
import type { BlobReader } from '../../../domain/ports/package-store.ts';
import type { Admission, Place } from './admission.ts';
import { resetConnection } from './connections.ts';
import { ClientGoneError } from './problem.ts';
import type { RequestState } from './request-record.ts';

/** The slowest permitted reader: a connection ends below 1 KiB/s, or after a minute without a byte. */
const SLOWEST = { bytesPerMs: 1.024, idleMs: 60_000 };

interface Sending {
  /** The offset of the first byte. */
  readonly start: number;
  /** The offset after the last byte. */
  readonly end: number;
  /** Called when the first bytes are there; before that a failure can still become an error response. */
  readonly writeHead: () => void;
  /** Gets the number of bytes that the kernel has accepted. */
  readonly onSent: (bytes: number) => void;
  /** Called when the kernel buffer is full, because the client reads nothing. */
  readonly onBlocked?: () => void;
  /** The smallest speed of a client, and its longest pause. */
  readonly slowest?: typeof SLOWEST;
}

/**
 * Sends bytes of the blob and ends the response. Rejects with ClientGoneError, also for a client that is too slow, or with
 * the error of reading; then the response has not been ended.
 */
export async function sendBlob(response: ServerResponse, blob: BlobReader, sending: Sending): Promise<void> {
  const { start, end, writeHead, onSent, onBlocked, slowest = SLOWEST } = sending;
  const client = new Client(response, slowest, onBlocked);
  // A blob withholds its end until it is verified; a part without this end must wait for the verification, too.
  const isPart = end < blob.size;
  for (let offset = start; offset < end;) {
    const bytes = (await client.unlessGone(blob.read(offset))).subarray(0, end - offset);
    if (bytes.byteLength === 0) throw new Error('blob is shorter than its size');
    if (offset === start) writeHead();
    offset += bytes.byteLength;
    if (offset === end && isPart) {
      // The bytes are copied, because the next read overwrites them.
      const last = new Uint8Array(bytes.subarray(-1));
      await client.taken(write(response, bytes.subarray(0, -1), onSent), bytes.byteLength);
      await client.unlessGone(blob.read(blob.size));
      client.taken(write(response, last, onSent), last.byteLength).catch(() => undefined);
      response.end();
      return;
    }
    const sent = write(response, bytes, onSent);
    // The end in the turn of the last bytes, and for a small blob also of the head, makes one write of all.
    if (offset === end) response.end();
    await client.taken(sent, bytes.byteLength);
  }
  if (start < end) return;
  await client.unlessGone(blob.read(end));
  writeHead();
  response.end();
}

/** The client that waits for the bytes. */
class Client {
  readonly #response: ServerResponse;
  readonly #slowest: typeof SLOWEST;
  readonly #onBlocked: (() => void) | undefined;
  #isGone: boolean;
  /** Ends the present wait. `Promise.race` would leave a reaction behind for each of thousands of waits. */
  #leave: (() => void) | undefined;

  constructor(response: ServerResponse, slowest: typeof SLOWEST, onBlocked?: () => void) {
    this.#response = response;
    this.#slowest = slowest;
    this.#onBlocked = onBlocked;
    this.#isGone = response.destroyed;
    response.once('close', () => {
      this.#isGone = true;
      // After the last byte there is no wait, and an error with its stack costs more than all headers of a small response.
      if (!response.writableFinished) this.#leave?.();
    });
  }

  /** Waits until the bytes are sent, within the limits of `SLOWEST`. The time of reading the blob does not count. */
  async taken(sent: Promise<void>, bytes: number): Promise<void> {
    // The kernel accepted all bytes, as it does for a small blob: a timer would cost more than the sending.
    if (this.#response.writableLength === 0) return this.unlessGone(sent);
    this.#onBlocked?.();
    const { bytesPerMs, idleMs } = this.#slowest;
    const slow = setTimeout(() => this.#response.destroy(), idleMs + bytes / bytesPerMs);
    // Node destroys a socket without progress for this long.
    this.#response.socket?.setTimeout(idleMs);
    await this.unlessGone(sent).finally(() => {
      clearTimeout(slow);
    });
    // After the last bytes Node sets the time-out of an idle connection.
    if (!this.#response.writableEnded) this.#response.socket?.setTimeout(0);
  }

  unlessGone<Value>(awaited: Promise<Value>): Promise<Value> {
    return new Promise((resolve, reject) => {
      this.#leave = () => {
        reject(new ClientGoneError());
      };
      awaited.then(resolve, reject);
      if (this.#isGone) this.#leave();
    });
  }
}

/**
 * Resolves when the kernel has accepted all bytes, so that the blob can reuse them. The write happens at once, not at the
 * end of the turn as in Node, so that `taken` knows whether the kernel had room.
 */
function write(response: ServerResponse, bytes: Uint8Array, onSent: (bytes: number) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const { socket } = response;
    socket?.cork();
    response.write(bytes, (error) => {
      if (error) {
        reject(new ClientGoneError());
      } else {
        onSent(bytes.byteLength);
        resolve();
      }
    });
    socket?.uncork();
  });
}

/** Counts the request while it runs. */
export function admitted(admission: Admission): Middleware<RequestState> {
  return async (ctx, next) => {
    const { client, connected } = ctx.state.record;
    // A process of this host without a client address: all such processes have the same address.
    const isNameless = client === connected && /^(::ffff:)?127\.|^::1$/.test(connected);
    const end = admission.begin(isNameless ? undefined : client);
    try {
      await next();
    } finally {
      end();
    }
  };
}

/** Aborts `leaving` when the client leaves, so that the work begins no download and waits for no turn. */
export async function untilClosed(
  response: ServerResponse,
  work: (leaving: AbortSignal) => Promise<void>,
): Promise<void> {
  const leaving = new AbortController();
  const leave = (): void => {
    // After a complete response there is nothing to end, and an error with its stack costs more than a small response.
    if (!response.writableFinished) leaving.abort(new ClientGoneError());
  };
  if (response.destroyed) leave();
  response.once('close', leave);
  try {
    await work(leaving.signal);
  } finally {
    response.off('close', leave);
  }
}

/** The turn of one response to send its body. */
export class Turn {
  readonly #response: ServerResponse;
  readonly #admission: Admission;
  readonly #leaving: AbortSignal;
  #place: Place | undefined;

  /** `leaving` is aborted when the client leaves. */
  constructor(response: ServerResponse, admission: Admission, leaving: AbortSignal) {
    this.#response = response;
    this.#admission = admission;
    this.#leaving = leaving;
  }

  /** Resolves when a body of this size may be sent; at once after an earlier call. Rejects as `Admission.place` does. */
  async wait(bytes: number): Promise<void> {
    if (this.#place !== undefined) return;
    const displace = (): void => {
      const { socket } = this.#response;
      if (socket === null) this.#response.destroy();
      else resetConnection(socket);
    };
    if (this.#response.socket !== null) this.#admission.asksAgain(this.#response.socket);
    const place =
      this.#admission.freePlace(bytes, displace) ?? (await this.#admission.place(bytes, displace, this.#leaving));
    this.#place = place;
  }

  /** Waits for the turn, before the head of the response, and sends the body. Rejects as `wait` and `sendBlob` do. */
  async send(blob: BlobReader, sending: Omit<Sending, 'onBlocked'>): Promise<void> {
    await this.wait(sending.end - sending.start);
    await sendBlob(this.#response, blob, {
      ...sending,
      onSent: (taken) => {
        this.#place?.taken();
        sending.onSent(taken);
      },
      onBlocked: () => {
        this.#place?.blocked();
      },
    });
  }

  /** Ends the turn; the next response gets it. */
  end(): void {
    // The response has no socket any more; the socket of its request may serve the next one.
    const isSent = this.#response.writableFinished;
    this.#place?.release(isSent ? this.#response.req.socket : undefined);
  }
}

/** Sends one body as `Turn.send` does. */
export async function sendInTurn(
  { res }: Pick<ParameterizedContext, 'res'>,
  blob: BlobReader,
  admission: Admission,
  leaving: AbortSignal,
  sending: Omit<Sending, 'onBlocked'>,
): Promise<void> {
  const turn = new Turn(res, admission, leaving);
  try {
    await turn.send(blob, sending);
  } finally {
    turn.end();
  }
}
