/** The path of the bytes: from a blob to a socket, through two buffers that are used again and again. */
import type { ServerResponse } from 'node:http';
import type { BlobReader } from '../../domain/ports/package-store.ts';

/** Measured: a third slower at 256 KiB, not faster at 1 MiB; fresh 64 KiB buffers cost four times the work itself. */
const BUFFER_BYTES = 512 * 1024;
/** 32 MiB that are not given back to the system between bursts of downloads. */
const MAX_SPARE_BUFFERS = 64;

/** Not worth two buffers of that size. */
const ONE_READ_BYTES = 64 * 1024;

const spare: Buffer[] = [];

/** The client closed its connection before all was sent. */
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
}

/**
 * Sends bytes of the blob and ends the response. Rejects with ClientGoneError or with what reading rejects with; then the
 * response is neither ended nor destroyed.
 */
export async function sendBlob(response: ServerResponse, blob: BlobReader, sending: Sending): Promise<void> {
  if (response.destroyed) throw new ClientGoneError();
  const gone = new Promise<never>((_resolve, reject) => {
    response.once('close', () => {
      reject(new ClientGoneError());
    });
  });
  gone.catch(() => undefined);
  const { start, end } = sending;
  if (end - start <= ONE_READ_BYTES) await sendAtOnce(response, blob, sending, gone);
  else await pump(response, blob, sending, gone);
}

/** Head and body in one write: of a small package the bytes are the least of the work. */
async function sendAtOnce(
  response: ServerResponse,
  blob: BlobReader,
  { start, end, writeHead, onSent }: Sending,
  gone: Promise<never>,
): Promise<void> {
  const buffer = Buffer.allocUnsafe(end - start);
  for (let length = 0; length < buffer.byteLength;) {
    length += await Promise.race([blob.read(buffer.subarray(length), start + length), gone]);
  }
  writeHead();
  await Promise.race([finish(response, buffer), gone]);
  onSent(buffer.byteLength);
}

async function pump(
  response: ServerResponse,
  blob: BlobReader,
  { start, end, writeHead, onSent }: Sending,
  gone: Promise<never>,
): Promise<void> {
  const read = (into: Buffer, from: number): Promise<number> | number =>
    from < end ? blob.read(into.subarray(0, end - from), from) : 0;

  let [current, next] = [takeBuffer(), takeBuffer()];
  let offset = start;
  let length = await Promise.race([read(current, offset), gone]);
  writeHead();
  while (offset < end) {
    // One read is ahead of one write, so that neither the disk nor the socket waits for the other.
    const sent = write(response, current.subarray(0, length));
    const [following] = await Promise.race([Promise.all([read(next, offset + length), sent]), gone]);
    onSent(length);
    offset += length;
    length = following;
    [current, next] = [next, current];
  }
  await Promise.race([finish(response), gone]);
  // Only here, where nothing is under way: after a failure the system may still hold the buffers.
  if (spare.length < MAX_SPARE_BUFFERS) spare.push(current, next);
}

function takeBuffer(): Buffer {
  return spare.pop() ?? Buffer.allocUnsafeSlow(BUFFER_BYTES);
}

function write(response: ServerResponse, chunk: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    response.write(chunk, (error) => {
      if (error) reject(new ClientGoneError());
      else resolve();
    });
  });
}

function finish(response: ServerResponse, last?: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    response.end(last, () => {
      resolve();
    });
  });
}
