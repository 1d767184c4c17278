/** The answers of an honest registry. */
import type { IncomingHttpHeaders } from 'node:http';
import type { TestBlob } from '../../../../test/support/image.ts';
import { errorBody } from '../../../../test/support/fake-registry.ts';
import type { Answer, Place } from './exchange.ts';

export function refusal(status: number, code: string, headers: Record<string, string> = {}): Answer {
  const body = Buffer.from(errorBody(code));
  return { status, headers: { 'content-length': body.byteLength, ...headers }, body };
}

/** The whole body, or the part that a closed range requests. */
export function honestContent(blob: TestBlob | undefined, place: Place, { range }: IncomingHttpHeaders): Answer {
  if (blob === undefined) return refusal(404, place === 'manifest' ? 'MANIFEST_UNKNOWN' : 'BLOB_UNKNOWN');
  const { bytes, descriptor } = blob;
  const size = bytes.byteLength;
  const type = place === 'manifest' ? descriptor.mediaType : 'application/octet-stream';
  const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(range ?? '') ?? [];
  if (first === undefined)
    return { status: 200, headers: { 'content-type': type, 'content-length': size }, body: bytes };
  const part = bytes.subarray(Number(first), Number(last) + 1);
  return {
    status: 206,
    headers: {
      'content-type': type,
      'content-length': part.byteLength,
      'content-range': `bytes ${first}-${String(Number(first) + part.byteLength - 1)}/${String(size)}`,
    },
    body: part,
  };
}
