/** Sends a blob to a socket, at the pace of the slower of the two. */
import type { ServerResponse } from 'node:http';
import type { BlobReader } from '../../../domain/ports/package-store.ts';

/** A slower reader loses its connection: it takes less than 1 KiB/s, or no byte in a minute. */
const SLOWEST = { bytesPerMs: 1.024, idleMs: 60_000 };

/** The client closed its connection before all was sent, or as good as that. */
export class ClientGoneError extends Error {
  override readonly name = 'ClientGoneError';
  constructor() {
    super('client closed the connection');
  }
}

export interface Sending {
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
  // A blob withholds its own end until it is proved; a part that ends before must not end sooner.
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
