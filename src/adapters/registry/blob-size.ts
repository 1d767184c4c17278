/** The size of a blob of which only the digest is known (distribution-spec, "Pulling blobs": HEAD). */
import { discard, isLabelledGzip } from './body.ts';
import { RedirectRefusedError } from './transport/http-client.ts';
import { type HttpResponse, refusal } from './transport/http-message.ts';
import { type Asked, unavailable, UpstreamFault } from './upstream-errors.ts';

interface SizeQuestion {
  readonly asked: Asked;
  readonly head: () => Promise<HttpResponse>;
  /** A GET with these headers, whose body the caller ends. */
  readonly get: (headers: Readonly<Record<string, string>>) => Promise<HttpResponse>;
}

/** Statuses that a GET would have, too. */
const FINAL_STATUSES: ReadonlySet<number> = new Set([401, 404, 429]);

/**
 * By HEAD; by one byte of the blob where the answer names no length, and where a storage refuses it: a URL that is signed
 * for GET is not good for HEAD (seen at four of four S3 servers). Rejects with the Upstream…Errors and PackageUnknownError.
 */
export async function readBlobSize({ asked, head, get }: SizeQuestion): Promise<number> {
  const answer = await head().catch((error: unknown) => {
    if (error instanceof RedirectRefusedError) return undefined;
    throw error;
  });
  if (answer !== undefined) {
    const size = answer.status === 200 ? lengthOf(answer) : undefined;
    if (size !== undefined || FINAL_STATUSES.has(answer.status)) {
      if (size === undefined) throw await refusal(answer);
      discard(answer.body);
      return size;
    }
    discard(answer.body);
  }
  const first = await get({ range: 'bytes=0-0' });
  const size = sizeOf(first);
  if (size === undefined && ![200, 206, 416].includes(first.status)) throw await refusal(first);
  // A server that ignores ranges begins to send all of the blob.
  first.body.destroy();
  if (size === undefined) throw unavailable(new UpstreamFault(asked, 'answer does not tell the size of the blob'));
  return size;
}

/** Behind the `/` of Content-Range, which a 416 has, too (RFC 9110 section 14.4). */
function sizeOf(response: HttpResponse): number | undefined {
  if (response.status === 200) return lengthOf(response);
  if (isLabelledGzip(response.headers)) return undefined;
  const [, total] = /^bytes[ =:]{1,4}(?:\d+-\d+|\*)\/(\d{1,15})$/i.exec(response.headers['content-range'] ?? '') ?? [];
  return total === undefined ? undefined : Number(total);
}

/** The length of encoded content is another one than that of the blob. */
function lengthOf({ headers }: HttpResponse): number | undefined {
  const length = headers['content-length'];
  return length !== undefined && /^\d{1,15}$/.test(length) && !isLabelledGzip(headers) ? Number(length) : undefined;
}
