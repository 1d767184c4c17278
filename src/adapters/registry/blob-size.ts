/** Finds the size of a blob by its digest (distribution-spec, "Pulling blobs": HEAD). */
import { discard, isLabelledGzip } from './body.ts';
import { RedirectRefusedError } from './transport/http-client.ts';
import { type HttpResponse, refusal } from './transport/http-message.ts';
import { type Asked, unavailable, UpstreamFault } from './upstream-errors.ts';

interface SizeQuestion {
  readonly asked: Asked;
  readonly head: () => Promise<HttpResponse>;
  /** Sends a GET with these headers. The caller ends the body. */
  readonly get: (headers: Readonly<Record<string, string>>) => Promise<HttpResponse>;
}

/** Statuses that a GET would get, too. */
const FINAL_STATUSES: ReadonlySet<number> = new Set([401, 404, 429]);

/**
 * Sends HEAD. If the answer has no length, or a storage refuses HEAD, it requests one byte of the blob: S3 servers (four of
 * four) refuse HEAD of a URL that is signed for GET. Rejects with the Upstream…Errors and PackageUnknownError.
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
  // A server that ignores ranges begins to send the whole blob.
  first.body.destroy();
  if (size === undefined) throw unavailable(new UpstreamFault(asked, 'answer does not state the size of the blob'));
  return size;
}

/** The number after the `/` of Content-Range, which a 416 has, too (RFC 9110, section 14.4). */
function sizeOf(response: HttpResponse): number | undefined {
  if (response.status === 200) return lengthOf(response);
  if (isLabelledGzip(response.headers)) return undefined;
  const [, total] = /^bytes[ =:]{1,4}(?:\d+-\d+|\*)\/(\d{1,15})$/i.exec(response.headers['content-range'] ?? '') ?? [];
  return total === undefined ? undefined : Number(total);
}

/** Undefined for encoded content, whose length is not that of the blob. */
function lengthOf({ headers }: HttpResponse): number | undefined {
  const length = headers['content-length'];
  return length !== undefined && /^\d{1,15}$/.test(length) && !isLabelledGzip(headers) ? Number(length) : undefined;
}
