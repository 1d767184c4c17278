/** The path of the bytes: from a blob to a socket, through two buffers that are used again and again. */
import type { ServerResponse } from 'node:http';
import type { BlobReader } from '../../domain/ports/package-store.ts';

/** Measured: a third slower at 256 KiB, not faster at 1 MiB; fresh 64 KiB buffers cost four times the work itself. */
const BUFFER_BYTES = 512 * 1024;
/** 32 MiB that are not given back to the system between bursts of downloads. */
const MAX_SPARE_BUFFERS = 64;

const spare: Buffer[] = [];

/** The client closed its connection before all was sent. */
export class ClientGoneError extends Error {
  override readonly name = 'ClientGoneError';
  constructor() {
    super('client closed the connection');
  }
}

/**
 * Sends all of the blob and ends the response; calls `writeHead` once the first bytes are there, so that until then a
 * failure can still become an error response. Rejects with ClientGoneError or with what reading rejects with; then the
 * response is neither ended nor destroyed. `onSent` hears of the bytes that the system took.
 */
export async function sendBlob(
  response: ServerResponse,
  blob: BlobReader,
  writeHead: () => void,
  onSent: (bytes: number) => void,
): Promise<void> {
  if (response.destroyed) throw new ClientGoneError();
  const gone = new Promise<never>((_resolve, reject) => {
    response.once('close', () => {
      reject(new ClientGoneError());
    });
  });
  gone.catch(() => undefined);
  let [current, next] = [takeBuffer(), takeBuffer()];
  let offset = 0;
  let length = await Promise.race([blob.read(current, 0), gone]);
  writeHead();
  do {
    // One read is ahead of one write, so that neither the disk nor the socket waits for the other.
    const chunk = current.subarray(0, length);
    const last = offset + length >= blob.size;
    const sent = last ? end(response, chunk) : write(response, chunk);
    const read = last ? 0 : blob.read(next, offset + length);
    const [following] = await Promise.race([Promise.all([read, sent]), gone]);
    onSent(length);
    offset += length;
    length = following;
    [current, next] = [next, current];
  } while (offset < blob.size);
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

function end(response: ServerResponse, chunk: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    response.end(chunk, () => {
      resolve();
    });
  });
}
