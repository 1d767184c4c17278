/** Sends the package of an image, verified before its first byte: the clients read only as far as their file, and close. */
import type { ParameterizedContext } from 'koa';
import { ComparedReader, digestPieces } from '../../../application/compared-reader.ts';
import type { Delivery } from '../../../application/get-package.ts';
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
    let again: Delivery | undefined;
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
      let { blob } = delivery;
      if (cache.kind !== 'hit' && size <= MAX_HELD_BYTES) {
        ctx.res.flushHeaders();
        const isBypass = cache.kind === 'bypass';
        const pieces = await inTime(isBypass ? digestPieces(blob) : blob.read(size).then(() => []));
        if (pieces !== undefined) again = await get.execute(request);
        if (again?.cache.kind === 'hit') blob = again.blob;
        // A bypass has its bytes once only, so the client gets those of a second download.
        else if (again !== undefined && pieces !== undefined && isBypass) blob = new ComparedReader(again.blob, pieces);
      }
      const onSent = (bytes: number): unknown => (record.bytes += bytes);
      await untilClosed(ctx.res, (leaving) =>
        sendInTurn(ctx, blob, admission, leaving, { start, end, writeHead: () => undefined, onSent }),
      );
    } finally {
      await again?.blob.close();
      await delivery.blob.close();
    }
  };
}

/** A tag can move; what a digest names cannot. "private": these answers need an authorization. */
export function cacheControl(isTag: boolean): string {
  return isTag ? 'private, no-cache' : 'private, max-age=31536000, immutable';
}

/** Waits, but not longer than a gateway does: undefined then. Rejects when the bytes are wrong. */
async function inTime<Value>(verification: Promise<Value>): Promise<Value | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, HOLD_TIMEOUT_MS, undefined);
  });
  try {
    return await Promise.race([verification, late]);
  } finally {
    clearTimeout(timer);
    verification.catch(() => undefined);
  }
}
