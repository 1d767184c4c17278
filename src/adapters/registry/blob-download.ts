/** Downloads a blob from an offset on, with as many requests as necessary. */
import type { Descriptor } from '../../domain/descriptor.ts';
import { WrongSizeError } from '../../domain/errors.ts';
import {
  type Body,
  BodyFault,
  gunzipped,
  HTML,
  isEncoded,
  isLabelledGzip,
  isMarkup,
  mediaTypeOf,
  readChunks,
} from './body.ts';
import { RedirectRefusedError } from './transport/http-client.ts';
import { type HttpResponse, refusal } from './transport/http-message.ts';
import type { Senders } from './senders.ts';
import { type Asked, failure, unavailable, UpstreamFault } from './upstream-errors.ts';

/** The smallest accepted part. Some gateways send 64 KiB at a time; for smaller parts, reading the whole blob costs less. */
const MIN_PART_BYTES = 16 * 1024;
/** Statuses that do not depend on the range. Another 4xx, or 501, can mean that only the range is refused. */
const FINAL_STATUSES: ReadonlySet<number> = new Set([401, 403, 404, 407, 408, 410, 425, 429]);
/** `bytes 40-99/100` and the variants of servers: another case of the unit, `=`, no total or an unknown one. */
const CONTENT_RANGE = /^bytes[ =:]{1,4}(\d{1,16})-(\d{1,16})(?:\/(\d{1,16}|\*))?$/i;

interface BlobExchange {
  readonly blob: Descriptor;
  readonly idleTimeoutMs: number;
  readonly signal: AbortSignal;
  readonly senders?: Senders | undefined;
  /** Requests the blob, or a range of it. */
  get(headers: Readonly<Record<string, string>>): Promise<HttpResponse>;
}

/** The bytes of one answer. */
interface Piece {
  readonly asked: Asked;
  readonly chunks: AsyncIterable<Uint8Array>;
  /** The offset in the blob after the last byte. */
  readonly end: number;
}

/** Rejects if there is no answer with the first byte. Leaving the iteration ends the answer. */
export async function downloadBlob(exchange: BlobExchange, offset: number): Promise<AsyncIterable<Uint8Array>> {
  const first = offset > 0 ? await openPart(exchange, offset) : await openWhole(exchange, 0);
  return follow(exchange, offset, first);
}

async function* follow(exchange: BlobExchange, offset: number, first: Piece): AsyncGenerator<Uint8Array> {
  const { blob, signal, senders } = exchange;
  let at = offset;
  let piece = first;
  try {
    for (;;) {
      const start = at;
      for await (const chunk of piece.chunks) {
        if (at === start) senders?.sent(blob.digest, piece.asked, at);
        at += chunk.byteLength;
        yield chunk;
      }
      // An answer without a length can look complete although it was cut off (RFC 9112, section 8).
      if (at < piece.end) throw new BodyFault('ERR_BODY_INCOMPLETE');
      if (at >= blob.size) return;
      piece = at - start < MIN_PART_BYTES ? await openWhole(exchange, at) : await openPart(exchange, at);
    }
  } catch (error) {
    throw failure(piece.asked, error, signal);
  }
}

/** Requests the rest of the blob; the answer may have only a part of it. */
async function openPart(exchange: BlobExchange, offset: number): Promise<Piece> {
  const { blob, idleTimeoutMs } = exchange;
  // With an end, because some registries refuse a range without one.
  const range = `bytes=${String(offset)}-${String(blob.size - 1)}`;
  const response = await exchange.get({ range }).catch((error: unknown) => {
    if (error instanceof RedirectRefusedError) return undefined;
    throw error;
  });
  if (response === undefined) return openWhole(exchange, offset);
  const { asked, status, headers, body } = response;
  if (status === 200) return readWhole(exchange, response, offset);
  // The offsets of encoded content count encoded bytes, so such a part cannot be used.
  const part = status === 206 && !isLabelledGzip(headers) ? partOf(response, blob.size, offset) : undefined;
  if (part !== undefined) return { asked, chunks: readChunks(body, part.skip, idleTimeoutMs), end: part.end };
  if (status !== 206 && !mayRefuseRange(status)) throw await refusal(response);
  body.destroy();
  return openWhole(exchange, offset);
}

function mayRefuseRange(status: number): boolean {
  return status === 501 || (status >= 400 && status < 500 && !FINAL_STATUSES.has(status));
}

/** Requests the whole blob and skips the first `offset` bytes, which the consumer has already. */
async function openWhole(exchange: BlobExchange, offset: number): Promise<Piece> {
  return readWhole(exchange, await exchange.get({}), offset);
}

async function readWhole(exchange: BlobExchange, response: HttpResponse, offset: number): Promise<Piece> {
  const { blob, idleTimeoutMs } = exchange;
  const { asked, status, headers, body } = response;
  if (status !== 200 && status !== 206) throw await refusal(response);
  const length = headers['content-length'];
  if (status === 200 && isLabelledGzip(headers) && length !== String(blob.size)) {
    if (length === undefined) return readLabelled(exchange, response, offset);
    return { asked, chunks: decoded(body, offset, idleTimeoutMs), end: blob.size };
  }
  const part = partOf(response, blob.size, offset);
  if (part?.end !== blob.size) {
    body.destroy();
    const cause = new UpstreamFault(asked, otherBytes(response));
    throw isAnotherBlob(response, blob) ? new WrongSizeError(undefined, { cause }) : unavailable(cause);
  }
  const chunks = readChunks(body, part.skip, idleTimeoutMs);
  return { asked, chunks: mayBePage(response, blob) ? noPage(chunks, asked) : chunks, end: blob.size };
}

/**
 * Reads content that is labelled as gzip and has no length. Only the digest of the whole content shows whether it must be
 * decoded, so it is read twice. No caller gets a byte of the wrong variant.
 */
async function readLabelled(exchange: BlobExchange, response: HttpResponse, offset: number): Promise<Piece> {
  const { blob, idleTimeoutMs, signal } = exchange;
  const encoded = await isEncoded(blob, readChunks(response.body, 0, idleTimeoutMs))
    .catch((error: unknown) => {
      throw failure(response.asked, error, signal);
    })
    .finally(() => response.body.destroy());
  const again = await exchange.get({});
  if (again.status !== 200) throw await refusal(again);
  const { asked, headers, body } = again;
  const chunks =
    encoded && isLabelledGzip(headers) ? decoded(body, offset, idleTimeoutMs) : readChunks(body, offset, idleTimeoutMs);
  return { asked, chunks, end: blob.size };
}

async function* decoded(body: Body, offset: number, idleTimeoutMs: number): AsyncGenerator<Uint8Array> {
  let skipped = 0;
  try {
    for await (const piece of gunzipped(readChunks(body, 0, idleTimeoutMs))) {
      const excess = Math.min(offset - skipped, piece.byteLength);
      skipped += excess;
      if (excess < piece.byteLength) yield piece.subarray(excess);
    }
  } finally {
    // The body is also ended if the decoder waits for the next bytes.
    body.destroy();
  }
}

function otherBytes({ status, headers }: HttpResponse): string {
  const type = mediaTypeOf(headers);
  return type === HTML ? `answer is ${HTML}, not a blob` : `answer ${String(status)} does not have the requested bytes`;
}

/** A page means that the server does not have the blob, and the length of a part does not show the size of the blob. */
function isAnotherBlob({ status, headers }: HttpResponse, { size }: Descriptor): boolean {
  const length = headers['content-length'];
  return status === 200 && length !== undefined && Number(length) !== size && mediaTypeOf(headers) !== HTML;
}

/** Whether the answer can be the page of a captive portal or a login form with status 200. No archive begins like a page. */
function mayBePage({ headers }: HttpResponse, { mediaType }: Descriptor): boolean {
  return headers['content-length'] === undefined && mediaTypeOf(headers) === HTML && mediaType.includes('tar');
}

async function* noPage(chunks: AsyncIterable<Uint8Array>, asked: Asked): AsyncGenerator<Uint8Array> {
  let isFirst = true;
  for await (const chunk of chunks) {
    if (isFirst && isMarkup(chunk)) throw unavailable(new UpstreamFault(asked, `answer is ${HTML}, not a blob`));
    isFirst = false;
    yield chunk;
  }
}

interface BlobPart {
  /** The number of bytes in the answer before the first requested one. */
  readonly skip: number;
  /** The offset in the blob after the last byte. */
  readonly end: number;
}

/**
 * The part of a blob of `size` bytes that includes the byte at `offset`; undefined if the answer has other bytes, or does not
 * state which bytes it has.
 */
export function partOf(
  { status, headers }: Pick<HttpResponse, 'status' | 'headers'>,
  size: number,
  offset: number,
): BlobPart | undefined {
  const [first, end] = status === 206 ? rangeOf(headers['content-range'], size) : [0, size];
  if (first === undefined || end === undefined || first > offset || end > size) return undefined;
  if (end <= offset && size > 0) return undefined;
  const length = String(end - first);
  if ((headers['content-length'] ?? length) !== length) return undefined;
  return { skip: offset - first, end };
}

function rangeOf(header = '', size: number): readonly [first?: number, end?: number] {
  const [, first, last, total = '*'] = CONTENT_RANGE.exec(header.trim()) ?? [];
  if (first === undefined || (total !== '*' && Number(total) !== size)) return [];
  return [Number(first), Number(last) + 1];
}
