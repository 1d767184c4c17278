/** Reads bodies of upstreams with limits of length and time, decodes gzip, and recognizes HTML pages. */
import type { IncomingHttpHeaders } from 'node:http';
import { pipeline } from 'node:stream';
import { createGunzip } from 'node:zlib';
import type { Descriptor } from '../../domain/descriptor.ts';
import { DigestMismatchError, errnoOf } from '../../domain/errors.ts';
import { Verifier } from '../../domain/verifier.ts';

/** The bytes of a response as they arrive; `destroy` ends it. */
export interface Body extends AsyncIterable<Uint8Array> {
  destroy(): unknown;
}

const BODY_FAULTS = {
  ERR_IDLE: 'no bytes came in time',
  ERR_BODY_INCOMPLETE: 'the connection has ended before the body',
  ERR_BODY_TOO_LONG: 'body is longer than expected',
} as const;

export class BodyFault extends Error {
  override readonly name = 'BodyFault';
  readonly code: keyof typeof BODY_FAULTS;
  constructor(code: keyof typeof BODY_FAULTS) {
    super(BODY_FAULTS[code]);
    this.code = code;
  }
}

/** At least this many bytes, or the rest, must arrive within one idle time-out; single bytes do not count as progress. */
const PROGRESS_BYTES = 64 * 1024;
/** A stall is noticed at most this long after its time-out. */
const MAX_TICK_MS = 1000;
/** A new connection costs less than reading more than this. */
const MAX_DISCARDED_BYTES = 4096;
const DISCARD_MS = 100;
export const HTML = 'text/html';

/** Type and subtype have at most 127 characters each (RFC 6838, section 4.2). Other texts are not shown to operators. */
const MEDIA_TYPE = /^[ \t]*([a-z0-9][a-z0-9!#$&^_.+-]{0,126}\/[a-z0-9][a-z0-9!#$&^_.+-]{0,126})[ \t]*(?:;|$)/;

/** Yields chunks, each valid until the next one, without the first `skip` bytes. Leaving the iteration ends the response. */
export async function* readChunks(body: Body, skip: number, idleTimeoutMs: number): AsyncGenerator<Uint8Array> {
  const tickMs = Math.min(MAX_TICK_MS, idleTimeoutMs / 4);
  let waiting = true;
  let waitedMs = 0;
  let progress = 0;
  const patience = new AbortController();
  const watchdog = setInterval(() => {
    // Counts only the wait for the upstream, because the consumer may be slow.
    if (waiting) waitedMs += tickMs;
    if (waitedMs < idleTimeoutMs) return;
    patience.abort();
    body.destroy();
  }, tickMs);
  let skipped = 0;
  try {
    for await (const chunk of body) {
      waiting = false;
      progress += chunk.byteLength;
      if (progress >= PROGRESS_BYTES) progress = waitedMs = 0;
      const excess = Math.min(skip - skipped, chunk.byteLength);
      skipped += excess;
      if (excess < chunk.byteLength) yield chunk.subarray(excess);
      waiting = true;
    }
  } catch (error) {
    throw patience.signal.aborted ? new BodyFault('ERR_IDLE') : error;
  } finally {
    clearInterval(watchdog);
    body.destroy();
  }
}

/** Reads a whole body of at most `maxBytes` within the time limit. @throws BodyFault */
export async function readAtMost(body: Body, maxBytes: number, timeoutMs: number): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  // A limit for the whole body: a body that arrives in single bytes is never idle but could take years.
  const patience = new AbortController();
  const deadline = setTimeout(() => {
    patience.abort();
    body.destroy();
  }, timeoutMs);
  try {
    for await (const chunk of body) {
      length += chunk.byteLength;
      if (length > maxBytes) throw new BodyFault('ERR_BODY_TOO_LONG');
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  } catch (error) {
    throw patience.signal.aborted ? new BodyFault('ERR_IDLE') : error;
  } finally {
    clearTimeout(deadline);
    body.destroy();
  }
}

/** Reads the rest of a short body in the background, so that its connection can be used again; ends a long body. */
export function discard(body: Body): void {
  readAtMost(body, MAX_DISCARDED_BYTES, DISCARD_MS).catch(() => undefined);
}

/**
 * Whether the content is labelled as gzip, the only coding that Go's client decodes. Other labels (`aws-chunked`, `identity`,
 * an empty one, …) are ignored: the digest verifies the bytes as they are.
 */
export function isLabelledGzip({ 'content-encoding': encoding = '' }: IncomingHttpHeaders): boolean {
  return encoding.split(',').some((coding) => /^\s*(?:x-)?gzip\s*$/i.test(coding));
}

/** Decodes the bytes; undefined if they are not gzip, or if the result exceeds `maxBytes`. */
export async function gunzipAtMost(bytes: Uint8Array, maxBytes: number): Promise<Buffer | undefined> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  try {
    for await (const piece of gunzipped([bytes])) {
      length += piece.byteLength;
      if (length > maxBytes) return undefined;
      pieces.push(piece);
    }
    return Buffer.concat(pieces);
  } catch {
    return undefined;
  }
}

/** Decodes no faster than the consumer reads. Rejects as `chunks` does, or with an error of zlib. */
export async function* gunzipped(chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const decoder = createGunzip();
  // The decoder fails with the same error, which the consumer gets.
  pipeline(copies(chunks), decoder, () => undefined);
  try {
    for await (const piece of decoder) yield piece as Buffer;
  } finally {
    decoder.destroy();
  }
}

/**
 * Whether the decoded bytes are the blob. Decodes all bytes, or stops as soon as they differ. Rejects as `chunks` does, or if
 * they end too early.
 */
export async function isEncoded(blob: Descriptor, chunks: AsyncIterable<Uint8Array>): Promise<boolean> {
  const verifier = new Verifier(blob);
  try {
    for await (const piece of gunzipped(chunks)) verifier.update(piece);
    verifier.verify();
    return true;
  } catch (error) {
    if (error instanceof DigestMismatchError || errnoOf(error) === 'Z_DATA_ERROR') return false;
    throw error;
  }
}

/** Copies the chunks, because the source reuses the memory of a chunk while the decoder still reads it. */
async function* copies(chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): AsyncGenerator<Buffer> {
  for await (const chunk of chunks) yield Buffer.from(chunk);
}

/** The media type in lower case, without parameters; undefined if there is none or it is malformed. */
export function mediaTypeOf({ 'content-type': type = '' }: IncomingHttpHeaders): string | undefined {
  return MEDIA_TYPE.exec(type.slice(0, 512).toLowerCase())?.[1];
}

/** Whether bytes begin as HTML or XML do. */
export function isMarkup(bytes: Uint8Array): boolean {
  return /^(?:\xef\xbb\xbf)?\s*<(?:!doctype|!--|\?xml|html|head|body)[\s>-]/i.test(
    Buffer.from(bytes.subarray(0, 256)).toString('latin1'),
  );
}
