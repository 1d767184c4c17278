/** Sends a blob to a socket, in its turn and at the pace of the slower of the two. */
import type { Middleware, ParameterizedContext } from 'koa';
import type { ServerResponse } from 'node:http';
import type { BlobReader } from '../../../domain/ports/package-store.ts';
import type { Admission, Place } from './admission.ts';
import { ClientGoneError } from './problem.ts';
import { resetConnection } from './reset-connection.ts';
import type { RequestState } from './request-record.ts';

/** A slower reader loses its connection: it takes less than 1 KiB/s, or no byte in a minute. */
const SLOWEST = { bytesPerMs: 1.024, idleMs: 60_000 };

interface Sending {
  /** The first byte. */
  readonly start: number;
  /** Behind the last byte. */
  readonly end: number;
  /** Called once the first bytes are there, so that until then a failure can still become an error response. */
  readonly writeHead: () => void;
  /** Hears of bytes that the system took. */
  readonly onSent: (bytes: number) => void;
  /** Hears of bytes that the system has no room for, since the client takes none. */
  readonly onBlocked?: () => void;
  /** How slow a client may be, and how long it may take nothing at all. */
  readonly slowest?: typeof SLOWEST;
}

/**
 * Sends bytes of the blob and ends the response. Rejects with ClientGoneError, of a client that is too slow, too, or with
 * what reading rejects with; then the response has not been ended.
 */
export async function sendBlob(response: ServerResponse, blob: BlobReader, sending: Sending): Promise<void> {
  const { start, end, writeHead, onSent, onBlocked, slowest = SLOWEST } = sending;
  const client = new Client(response, slowest, onBlocked);
  // A blob withholds its own end until it is verified; a part that ends before must not end sooner.
  const isPart = end < blob.size;
  for (let offset = start; offset < end;) {
    const bytes = (await client.unlessGone(blob.read(offset))).subarray(0, end - offset);
    if (bytes.byteLength === 0) throw new Error('blob is shorter than its size');
    if (offset === start) writeHead();
    offset += bytes.byteLength;
    if (offset === end && isPart) {
      // A copy: reading on takes it away.
      const last = new Uint8Array(bytes.subarray(-1));
      await client.taken(write(response, bytes.subarray(0, -1), onSent), bytes.byteLength);
      await client.unlessGone(blob.read(blob.size));
      client.taken(write(response, last, onSent), last.byteLength).catch(() => undefined);
      response.end();
      return;
    }
    const sent = write(response, bytes, onSent);
    // In the turn of its last bytes, and for a small blob in that of its head, too: all is one write.
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
  /** Ends the present wait: `Promise.race` would leave something behind for each of thousands. */
  #leave: (() => void) | undefined;

  constructor(response: ServerResponse, slowest: typeof SLOWEST, onBlocked?: () => void) {
    this.#response = response;
    this.#slowest = slowest;
    this.#onBlocked = onBlocked;
    this.#isGone = response.destroyed;
    response.once('close', () => {
      this.#isGone = true;
      // After the last byte there is no wait, and an error with its stack costs more than all headers of a small answer.
      if (!response.writableFinished) this.#leave?.();
    });
  }

  /** Waits until so many bytes are taken, but not for ever. Waiting for the blob is not the client's fault. */
  async taken(sent: Promise<void>, bytes: number): Promise<void> {
    // The system had room for it, as it has for a small blob: a timer would cost more than the sending.
    if (this.#response.writableLength === 0) return this.unlessGone(sent);
    this.#onBlocked?.();
    const { bytesPerMs, idleMs } = this.#slowest;
    const slow = setTimeout(() => this.#response.destroy(), idleMs + bytes / bytesPerMs);
    // Node destroys a socket that takes nothing for so long.
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
 * Resolves when the system has taken all of it: the bytes are the blob's again then. The system is asked at once, not at the
 * end of the turn as Node does: `taken` then knows that it had room.
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
    // A process of this host that names no client: all such processes have one address.
    const isNameless = client === connected && /^(::ffff:)?127\.|^::1$/.test(connected);
    const end = admission.begin(isNameless ? undefined : client);
    try {
      await next();
    } finally {
      end();
    }
  };
}

/** The work hears when the client leaves: a download or a body that waits for its turn need not begin then. */
export async function untilClosed(
  response: ServerResponse,
  work: (leaving: AbortSignal) => Promise<void>,
): Promise<void> {
  const leaving = new AbortController();
  const leave = (): void => {
    // Behind a whole response there is nothing left to end, and an error with its stack costs more than a small answer.
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

  /** Fulfils when a body of so many bytes may be sent, at once when it was waited for before. Rejects as `Admission.place` does. */
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

  /** Ends it; the next response has its turn. */
  end(): void {
    // The response has no socket any more; that of its request may serve the next one.
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
