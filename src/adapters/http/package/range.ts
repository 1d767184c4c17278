/** The Range header: which bytes of a package a client wants (RFC 9110 section 14). */

/** From `start` up to, not including, `end`. */
export interface ByteRange {
  readonly kind: 'part';
  readonly start: number;
  readonly end: number;
}

export type RequestedRange =
  /** All of it: no range, one that we do not understand, or several, which a server may ignore (section 14.2). */
  | { readonly kind: 'whole' }
  | ByteRange
  /** No byte of it exists. */
  | { readonly kind: 'unsatisfiable' };

const WHOLE: RequestedRange = { kind: 'whole' };
const UNSATISFIABLE: RequestedRange = { kind: 'unsatisfiable' };

/**
 * Only for GET: no other method has ranges (section 14.2). `ifRange` is that header's value: only our own strong validator
 * lets the range stand (section 13.1.5); a range that stands and holds no byte is unsatisfiable with it as without.
 */
export function parseRange(range: string, ifRange: string, etag: string, size: number): RequestedRange {
  if (ifRange !== '' && ifRange !== etag) return WHOLE;
  const match = /^bytes=[ \t]*(\d*)-(\d*)[ \t]*$/i.exec(range);
  if (match === null) return WHOLE;
  const [, first = '', last = ''] = match;
  if (first === '') return last === '' ? WHOLE : suffix(Number(last), size);
  if (last !== '' && Number(last) < Number(first)) return WHOLE;
  if (Number(first) >= size) return UNSATISFIABLE;
  return { kind: 'part', start: Number(first), end: last === '' ? size : Math.min(Number(last) + 1, size) };
}

function suffix(length: number, size: number): RequestedRange {
  if (length === 0) return UNSATISFIABLE;
  // The last bytes of nothing are all of it (section 14.1.2), which no Content-Range could say.
  return size === 0 ? WHOLE : { kind: 'part', start: Math.max(0, size - length), end: size };
}
