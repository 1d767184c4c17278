/** A blob from an offset on, out of as many answers as it takes. */
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

/** Some gateways give 64 KiB at a time; with less than this, reading all of the blob again is the smaller burden. */
const MIN_PART_BYTES = 16 * 1024;
/** Answers that are final with or without a range; any other 4xx, and 501, may only refuse the range. */
const FINAL_STATUSES: ReadonlySet<number> = new Set([401, 403, 404, 407, 408, 410, 425, 429]);
/** `bytes 40-99/100`, and the spellings that servers have for it: another unit's case, `=`, no total or an unknown one. */
const CONTENT_RANGE = /^bytes[ =:]{1,4}(\d{1,16})-(\d{1,16})(?:\/(\d{1,16}|\*))?$/i;

interface BlobExchange {
  readonly blob: Descriptor;
  readonly idleTimeoutMs: number;
  readonly signal: AbortSignal;
  readonly senders?: Senders | undefined;
  /** Asks for the blob, or for a range of it. */
  get(headers: Readonly<Record<string, string>>): Promise<HttpResponse>;
}

/** The bytes that an answer brings. */
interface Piece {
  readonly asked: Asked;
  readonly chunks: AsyncIterable<Uint8Array>;
  /** Behind its last byte, as an offset in the blob. */
  readonly end: number;
}

/** Rejects when there is no answer with the first byte. Leaving the iteration ends the answer. */
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
      // Without a length, an answer that is cut off can look complete (RFC 9112, section 8).
      if (at < piece.end) throw new BodyFault('ERR_BODY_INCOMPLETE');
      if (at >= blob.size) return;
      piece = at - start < MIN_PART_BYTES ? await openWhole(exchange, at) : await openPart(exchange, at);
    }
  } catch (error) {
    throw failure(piece.asked, error, signal);
  }
}

/** The rest of the blob, or some of it. */
async function openPart(exchange: BlobExchange, offset: number): Promise<Piece> {
  const { blob, idleTimeoutMs } = exchange;
  // Closed, since some registries refuse an open end (and it says what we expect).
  const range = `bytes=${String(offset)}-${String(blob.size - 1)}`;
  const response = await exchange.get({ range }).catch((error: unknown) => {
    if (error instanceof RedirectRefusedError) return undefined;
    throw error;
  });
  if (response === undefined) return openWhole(exchange, offset);
  const { asked, status, headers, body } = response;
  if (status === 200) return readWhole(exchange, response, offset);
  // A range of encoded content counts encoded bytes.
  const part = status === 206 && !isLabelledGzip(headers) ? partOf(response, blob.size, offset) : undefined;
  if (part !== undefined) return { asked, chunks: readChunks(body, part.skip, idleTimeoutMs), end: part.end };
  if (status !== 206 && !mayRefuseRange(status)) throw await refusal(response);
  body.destroy();
  return openWhole(exchange, offset);
}

function mayRefuseRange(status: number): boolean {
  return status === 501 || (status >= 400 && status < 500 && !FINAL_STATUSES.has(status));
}

/** All of the blob, of which the consumer has the first `offset` bytes. */
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
 * Content that is labelled as gzip and tells no length: only all of it shows whether it is the blob or has to be decoded,
 * so it is read twice. No caller gets a byte of the wrong one.
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
    // Also when the decoder waits for the next bytes.
    body.destroy();
  }
}

function otherBytes({ status, headers }: HttpResponse): string {
  const type = mediaTypeOf(headers);
  return type === HTML ? `answer is ${HTML}, not a blob` : `answer ${String(status)} does not have the requested bytes`;
}

/** A page stands for a server that has no blob at all, and a part says nothing of the whole. */
function isAnotherBlob({ status, headers }: HttpResponse, { size }: Descriptor): boolean {
  const length = headers['content-length'];
  return status === 200 && length !== undefined && Number(length) !== size && mediaTypeOf(headers) !== HTML;
}

/** A page of a captive portal or a login form, which comes with status 200. An archive never begins as one does. */
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
  /** How many bytes of the answer come before the first one that was asked for. */
  readonly skip: number;
  /** Behind its last byte, as an offset in the blob. */
  readonly end: number;
}

/**
 * The part of a blob of `size` bytes that begins at `offset` or before it; undefined when the answer has other bytes, or
 * says too little about them.
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
