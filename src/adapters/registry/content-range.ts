/** Which bytes of a blob an answer has: those that were asked for, or all of them (RFC 9110 sections 14.4 and 15.3.7). */
import type { HttpResponse } from './http-message.ts';

/**
 * How many bytes of the answer to a closed range, from `offset` to the end of a blob of `size` bytes, come before the
 * first one that was asked for; undefined when it has any others. Of an answer to no range, `offset` is 0.
 */
export function leadingBytes(
  { status, headers }: Pick<HttpResponse, 'status' | 'headers'>,
  size: number,
  offset: number,
): number | undefined {
  const isPart = status === 206;
  const range = `bytes ${String(offset)}-${String(size - 1)}/${String(size)}`;
  if (isPart && (offset === 0 || headers['content-range']?.toLowerCase() !== range)) return undefined;
  const length = String(isPart ? size - offset : size);
  if ((headers['content-length'] ?? length) !== length) return undefined;
  return isPart ? 0 : offset;
}
