/** Which bytes of a blob an answer has: those that were asked for, some of them, or all (RFC 9110, sections 14.4 and 15.3.7). */
import type { HttpResponse } from './transport/http-message.ts';

interface BlobPart {
  /** How many bytes of the answer come before the first one that was asked for. */
  readonly skip: number;
  /** Behind its last byte, as an offset in the blob. */
  readonly end: number;
}

/** `bytes 40-99/100`, and the spellings that servers have for it: another unit's case, `=`, no total or an unknown one. */
const CONTENT_RANGE = /^bytes[ =:]{1,4}(\d{1,16})-(\d{1,16})(?:\/(\d{1,16}|\*))?$/i;

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
