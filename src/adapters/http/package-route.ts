/** GET and HEAD /package: parse, ask once, send. */
import type { Context, Middleware } from 'koa';
import type { DescribePackage } from '../../application/describe-package.ts';
import type { CacheOutcome, GetPackage } from '../../application/get-package.ts';
import type { Package } from '../../domain/package.ts';
import { cacheHeaders, packageHeaders } from './package-headers.ts';
import { parsePackageQuery } from './package-query.ts';
import type { RequestState } from './request-record.ts';
import { sendBlob } from './send-blob.ts';

export interface PackageUseCases {
  readonly get: Pick<GetPackage, 'execute'>;
  readonly describe: Pick<DescribePackage, 'execute'>;
}

export function packageRoute({ get, describe }: PackageUseCases): Middleware<RequestState> {
  return async (ctx) => {
    const { record } = ctx.state;
    const request = parsePackageQuery(ctx.querystring);
    record.package = request;
    if (ctx.method === 'HEAD') {
      const { package: found, storedAt } = await describe.execute(request);
      record.cache = storedAt && { kind: 'hit', storedAt };
      setHead(ctx, found, record.cache);
      return;
    }
    const { package: found, cache, blob } = await get.execute(request);
    record.cache = cache;
    try {
      await sendBlob(
        ctx.res,
        blob,
        () => {
          setHead(ctx, found, cache);
          ctx.respond = false;
        },
        (bytes) => (record.bytes += bytes),
      );
    } finally {
      await blob.close();
    }
  };
}

function setHead(ctx: Context, found: Package, cache: CacheOutcome | undefined): void {
  ctx.status = 200;
  ctx.set({ ...packageHeaders(found), ...cacheHeaders(cache) });
}
