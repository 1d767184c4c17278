/** Sends the package of an image, verified before its first byte: the clients read only as far as their file, and close. */
import type { ParameterizedContext } from 'koa';
import type { Delivery } from '../../../application/get-package.ts';
import type { PackageRequest } from '../../../domain/reference.ts';
import type { BlobReader } from '../../../domain/ports/package-store.ts';
import type { Admission } from '../server/admission.ts';
import { sendInTurn, untilClosed } from '../server/send-blob.ts';
import {
  cacheHeaders,
  etagOf,
  matchesEtag,
  packageHeaders,
  parseRange,
  partHeaders,
} from '../package/package-headers.ts';
import type { PackageUseCases } from '../package/package-route.ts';
import { rangeUnsatisfiable, reworded } from '../server/problem.ts';
import type { RequestState } from '../server/request-record.ts';

/** Gateways in between wait 300 s for the next byte. */
const HOLD_TIMEOUT_MS = 240_000;
/** The largest file that the clients accept. */
const MAX_HELD_BYTES = 512 * 1024 ** 2;
const WORDS = { unknown: 'package not found', failed: 'failed to fetch package' };

interface WantedImage {
  readonly request: PackageRequest;
  /** For the name of the client's file. */
  readonly name: string;
  readonly isTag: boolean;
  /** Aborted when the head takes too long. */
  readonly answer: AbortSignal;
  /** Called when the head can be sent. */
  readonly onOpened: () => void;
}

type Context = ParameterizedContext<RequestState>;

export function imageDownload(
  get: PackageUseCases['get'],
  admission: Admission,
): (ctx: Context, wanted: WantedImage) => Promise<void> {
  return async (ctx, { request, name, isTag, answer, onOpened }) => {
    const { record } = ctx.state;
    const own = {
      'Cache-Control': cacheControl(isTag),
      'Content-Disposition': `attachment; filename="${name}.tar.gz"`,
    };
    const isKnown = matchesEtag(ctx.get('If-None-Match'), etagOf(request.digest)) !== false;
    if (ctx.method === 'HEAD' || isKnown) {
      const { package: found, storedAt } = await reworded(WORDS, get.head(request));
      record.cache = storedAt && { kind: 'hit', storedAt };
      ctx.set({ ...packageHeaders(found), ...cacheHeaders(record.cache), ...own });
      ctx.status = isKnown ? 304 : 200;
      return;
    }
    const delivery = await reworded(WORDS, get.execute(request, answer));
    onOpened();
    record.cache = delivery.cache;
    let verified: Delivery | undefined;
    try {
      const { package: found, cache } = delivery;
      const { size } = found.layer;
      const range = parseRange(ctx.get('Range'), ctx.get('If-Range'), etagOf(found.digest), size);
      if (range.kind === 'unsatisfiable') throw rangeUnsatisfiable(size);
      const { start, end } = range.kind === 'part' ? range : { start: 0, end: size };
      ctx.respond = false;
      ctx.res.writeHead(range.kind === 'part' ? 206 : 200, {
        ...packageHeaders(found),
        ...cacheHeaders(cache),
        ...own,
        ...(range.kind === 'part' && partHeaders(range, size)),
        'X-Request-Id': record.id,
      });
      // A bypass has its bytes once only.
      if ((cache.kind === 'miss' || cache.kind === 'joined') && size <= MAX_HELD_BYTES) {
        ctx.res.flushHeaders();
        if (await isVerified(delivery.blob)) verified = await get.execute(request);
      }
      const onSent = (bytes: number): unknown => (record.bytes += bytes);
      const blob = verified?.cache.kind === 'hit' ? verified.blob : delivery.blob;
      await untilClosed(ctx.res, (leaving) =>
        sendInTurn(ctx, blob, admission, leaving, { start, end, writeHead: () => undefined, onSent }),
      );
    } finally {
      await verified?.blob.close();
      await delivery.blob.close();
    }
  };
}

/** A tag can move; what a digest names cannot. "private": these answers need an authorization. */
export function cacheControl(isTag: boolean): string {
  return isTag ? 'private, no-cache' : 'private, max-age=31536000, immutable';
}

/** Waits for the end of the verification, but not longer than a gateway waits. Rejects when the bytes are wrong. */
async function isVerified(blob: BlobReader): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => {
      resolve(false);
    }, HOLD_TIMEOUT_MS);
  });
  const verified = blob.read(blob.size).then(() => true as const);
  try {
    return await Promise.race([verified, late]);
  } finally {
    clearTimeout(timer);
    verified.catch(() => undefined);
  }
}
