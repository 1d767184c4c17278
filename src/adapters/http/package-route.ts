/** GET and HEAD /package: parse, ask once, send. */
import type { Middleware, ParameterizedContext } from 'koa';
import type { DescribePackage } from '../../application/describe-package.ts';
import type { GetPackage } from '../../application/get-package.ts';
import type { PackageRequest } from '../../domain/package.ts';
import { matchesEtag } from './conditional.ts';
import { cacheHeaders, etagOf, packageHeaders, partHeaders, validatorHeaders } from './package-headers.ts';
import { parsePackageQuery } from './package-query.ts';
import { RefusedError } from './problem.ts';
import { parseRange } from './range.ts';
import type { RequestState } from './request-record.ts';
import { sendBlob } from './send-blob.ts';

export interface PackageUseCases {
  readonly get: Pick<GetPackage, 'execute'>;
  readonly describe: Pick<DescribePackage, 'execute'>;
}

type PackageContext = ParameterizedContext<RequestState>;

export function packageRoute({ get, describe }: PackageUseCases): Middleware<RequestState> {
  return async (ctx) => {
    const request = parsePackageQuery(ctx.querystring);
    ctx.state.record.package = request;
    const known = matchesEtag(ctx.get('If-None-Match'), etagOf(request.digest));
    if (known !== false) {
      // Content under a digest does not change: whether it exists is all that there is to ask, and who has it knows.
      if (known === 'any') await describe.execute(request);
      ctx.status = 304;
      ctx.set(validatorHeaders(request.digest));
    } else if (ctx.method === 'HEAD') {
      await answerHead(ctx, describe, request);
    } else {
      await answerGet(ctx, get, request);
    }
  };
}

async function answerHead(
  ctx: PackageContext,
  describe: PackageUseCases['describe'],
  request: PackageRequest,
): Promise<void> {
  const { package: found, storedAt } = await describe.execute(request);
  ctx.state.record.cache = storedAt && { kind: 'hit', storedAt };
  ctx.status = 200;
  ctx.set({ ...packageHeaders(found), ...cacheHeaders(ctx.state.record.cache) });
}

async function answerGet(ctx: PackageContext, get: PackageUseCases['get'], request: PackageRequest): Promise<void> {
  const { package: found, cache, blob } = await get.execute(request);
  const { record } = ctx.state;
  record.cache = cache;
  try {
    const { size } = found.layer;
    const range = parseRange(ctx.get('Range'), ctx.get('If-Range'), etagOf(found.digest), size);
    if (range.kind === 'unsatisfiable') {
      const headers = { 'Accept-Ranges': 'bytes', 'Content-Range': `bytes */${String(size)}` };
      throw new RefusedError('RANGE_UNSATISFIABLE', 'no byte of this range exists', headers);
    }
    const { start, end } = range.kind === 'part' ? range : { start: 0, end: size };
    const writeHead = (): void => {
      ctx.respond = false;
      // All at once: header by header, by Koa and then by Node, took a tenth of the time of a small hit.
      ctx.res.writeHead(range.kind === 'part' ? 206 : 200, {
        ...packageHeaders(found),
        ...cacheHeaders(cache),
        ...(range.kind === 'part' && partHeaders(range, size)),
        'X-Request-Id': record.id,
      });
    };
    await sendBlob(ctx.res, blob, { start, end, writeHead, onSent: (bytes) => (record.bytes += bytes) });
  } finally {
    await blob.close();
  }
}
