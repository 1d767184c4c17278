/** Sends the package of an image after its verification, because the clients read only as far as their file, and close. */
import type { ParameterizedContext } from 'koa';
import { ComparedReader, digestPieces } from '../../../application/compared-reader.ts';
import type { Delivery } from '../../../application/get-package.ts';
import type { BlobReader } from '../../../domain/ports/package-store.ts';
import type { PackageRequest } from '../../../domain/reference.ts';
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
import type { HeadDeadline } from './head-deadline.ts';

/** The longest wait for the verification. Gateways wait 300 s for the next byte. */
const HOLD_TIMEOUT_MS = 240_000;
/** The size of the largest file that the clients accept. */
const MAX_HELD_BYTES = 512 * 1024 ** 2;
/** The number of downloads of one image for one client, if each is evicted right after its verification. */
const MAX_ROUNDS = 3;
const WORDS = { unknown: 'package not found', failed: 'failed to fetch package' };

interface WantedImage {
  readonly request: PackageRequest;
  /** Used in the file name of the client. */
  readonly name: string;
  readonly isTag: boolean;
  readonly head: HeadDeadline;
}

type Context = ParameterizedContext<RequestState>;

export function imageDownload(
  get: PackageUseCases['get'],
  admission: Admission,
): (ctx: Context, wanted: WantedImage) => Promise<void> {
  return async (ctx, { request, name, isTag, head }) => {
    const { record } = ctx.state;
    record.package = request;
    const own = {
      'Cache-Control': cacheControl(isTag),
      'Content-Disposition': `attachment; filename="${name}.tar.gz"`,
    };
    const isKnown = matchesEtag(ctx.get('If-None-Match'), etagOf(request.digest)) !== false;
    if (ctx.method === 'HEAD' || isKnown) {
      const { package: found, storedAt } = await reworded(WORDS, head.meet(get.head(request)));
      record.cache = storedAt && { kind: 'hit', storedAt };
      ctx.set({ ...packageHeaders(found), ...cacheHeaders(record.cache), ...own });
      ctx.status = isKnown ? 304 : 200;
      return;
    }
    const opening = head.meet(get.execute(request, head.signal), ({ blob }) => blob.close());
    const delivery = await reworded(WORDS, opening);
    head.end();
    record.cache = delivery.cache;
    const deliveries = [delivery];
    const open = async (leaving: AbortSignal): Promise<Delivery> => {
      const again = await get.execute(request, leaving);
      deliveries.push(again);
      return again;
    };
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
      const onSent = (bytes: number): unknown => (record.bytes += bytes);
      await untilClosed(ctx.res, async (leaving) => {
        let { blob } = delivery;
        // The head of an empty body completes the response, and the next request may come on its connection.
        if (cache.kind !== 'hit' && size > 0) {
          ctx.res.flushHeaders();
          const whole = size <= MAX_HELD_BYTES ? await verified(delivery, leaving, open) : undefined;
          if (whole === undefined) record.isUnverified = true;
          // A bypass that was read for the verification has no bytes left.
          const isSpent = cache.kind === 'bypass' && size <= MAX_HELD_BYTES;
          blob = whole ?? (isSpent ? (await open(leaving)).blob : blob);
        }
        await sendInTurn(ctx, blob, admission, leaving, { start, end, writeHead: () => undefined, onSent });
      });
    } finally {
      for (const { blob } of deliveries) await blob.close();
    }
  };
}

/** Resolves with the verified bytes of a delivery; undefined if the verification takes longer than a gateway waits. */
async function verified(
  first: Delivery,
  leaving: AbortSignal,
  open: (leaving: AbortSignal) => Promise<Delivery>,
): Promise<BlobReader | undefined> {
  let delivery = first;
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const { cache, blob } = delivery;
    // A bypass can be read only once, so the client gets the bytes of a second download.
    const isBypass = cache.kind === 'bypass';
    const pieces = await inTime(isBypass ? digestPieces(blob) : blob.read(blob.size).then(() => []), leaving);
    if (pieces === undefined) return undefined;
    delivery = await open(leaving);
    if (delivery.cache.kind === 'hit') return delivery.blob;
    if (isBypass) return new ComparedReader(delivery.blob, pieces);
    // The package was evicted, or the store failed.
  }
  return undefined;
}

/** A tag can move, and the content of a digest cannot. "private": these responses need an authorization. */
export function cacheControl(isTag: boolean): string {
  return isTag ? 'private, no-cache' : 'private, max-age=31536000, immutable';
}

/** Waits at most as long as a gateway and the client do; resolves with undefined after the time of the gateway. */
async function inTime<Value>(verification: Promise<Value>, leaving: AbortSignal): Promise<Value | undefined> {
  const { promise: over, resolve, reject } = Promise.withResolvers<undefined>();
  const timer = setTimeout(resolve, HOLD_TIMEOUT_MS, undefined);
  const leave = (): void => {
    reject(leaving.reason as Error);
  };
  if (leaving.aborted) leave();
  leaving.addEventListener('abort', leave);
  try {
    return await Promise.race([verification, over]);
  } finally {
    clearTimeout(timer);
    leaving.removeEventListener('abort', leave);
    verification.catch(() => undefined);
  }
}
