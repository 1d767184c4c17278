/** Content that an upstream labels as compressed (RFC 9110, section 8.4), often wrongly. */
import type { IncomingHttpHeaders } from 'node:http';
import { pipeline } from 'node:stream';
import { createGunzip } from 'node:zlib';
import type { Descriptor } from '../../domain/descriptor.ts';
import { DigestMismatchError } from '../../domain/errors.ts';
import { Verifier } from '../../domain/verifier.ts';

/**
 * Whether the content may be compressed by gzip, the one coding that Go's client decodes. Other labels (`aws-chunked`,
 * `identity`, an empty one, …) say nothing: the digest decides about the bytes as they are.
 */
export function isLabelledGzip({ 'content-encoding': encoding = '' }: IncomingHttpHeaders): boolean {
  return encoding.split(',').some((coding) => /^\s*(?:x-)?gzip\s*$/i.test(coding));
}

/** Undefined when the bytes are not those of gzip, or more than `maxBytes` when they are decoded. */
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
  // The decoder fails with the same error, which the consumer sees.
  pipeline(copies(chunks), decoder, () => undefined);
  try {
    for await (const piece of decoder) yield piece as Buffer;
  } finally {
    decoder.destroy();
  }
}

/**
 * Whether the decoded bytes are the blob: decodes all of them, or as many as show that they are not. Rejects as `chunks`
 * does, or when they end too early.
 */
export async function isEncoded(blob: Descriptor, chunks: AsyncIterable<Uint8Array>): Promise<boolean> {
  const verifier = new Verifier(blob);
  try {
    for await (const piece of gunzipped(chunks)) verifier.update(piece);
    verifier.verify();
    return true;
  } catch (error) {
    const isOther =
      error instanceof DigestMismatchError ||
      (error instanceof Error && 'code' in error && error.code === 'Z_DATA_ERROR');
    if (isOther) return false;
    throw error;
  }
}

/** The source uses the memory of a chunk again, while the decoder still works on it. */
async function* copies(chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): AsyncGenerator<Buffer> {
  for await (const chunk of chunks) yield Buffer.from(chunk);
}
