/** GET and HEAD /package: parse, ask once, send. */
import type { Middleware, ParameterizedContext } from 'koa';
import type { AsyncLocalStorage } from 'node:async_hooks';
import type { DescribePackage, Description } from '../../../application/describe-package.ts';
import type { Delivery, GetPackage } from '../../../application/get-package.ts';
import type { ResolvePackage } from '../../../application/resolve-package.ts';
import type { Admission } from '../server/admission.ts';
import { sendInTurn, untilClosed } from '../server/admitted.ts';
import { matchesEtag } from './conditional.ts';
import { cacheHeaders, etagOf, packageHeaders, partHeaders, validatorHeaders } from './package-headers.ts';
import { parsePackageQuery } from './package-query.ts';
import { rangeUnsatisfiable } from '../server/problem.ts';
import { parseRange } from './range.ts';
import type { RequestState } from '../server/request-record.ts';
import type { RequestTrace } from '../server/trace-context.ts';

export interface PackageUseCases {
  readonly get: Pick<GetPackage, 'execute'>;
  readonly describe: Pick<DescribePackage, 'execute'>;
  readonly manifests: Pick<ResolvePackage, 'manifest'>;
}

type PackageContext = ParameterizedContext<RequestState>;

/** `traces` carries the trace of a request into the work that it begins. */
export function packageRoute(
  { get, describe }: Pick<PackageUseCases, 'get' | 'describe'>,
  traces: AsyncLocalStorage<RequestTrace>,
  admission: Admission,
): Middleware<RequestState> {
  return async (ctx) => {
    const request = parsePackageQuery(ctx.querystring);
    const { record } = ctx.state;
    record.package = request;
    const known = matchesEtag(ctx.get('If-None-Match'), etagOf(request.digest));
    if (known !== false) {
      // Content under a digest does not change: only its existence is in question, and a client that has it knows the answer.
      if (known === 'any') await traces.run(record.trace, () => describe.execute(request));
      ctx.status = 304;
      ctx.set(validatorHeaders(request.digest));
    } else if (ctx.method === 'HEAD') {
      answerHead(ctx, await traces.run(record.trace, () => describe.execute(request)));
    } else {
      await untilClosed(ctx.res, async (leaving) => {
        const delivery = await traces.run(record.trace, () => get.execute(request, leaving));
        const answer = (): Promise<void> => answerGet(ctx, delivery, admission, leaving);
        // A context makes sending slower in Node, and a hit asks no upstream that would need the trace (ADR 17).
        await (delivery.cache.kind === 'hit' ? answer() : traces.run(record.trace, answer));
      });
    }
  };
}

function answerHead(ctx: PackageContext, { package: found, storedAt }: Description): void {
  ctx.state.record.cache = storedAt && { kind: 'hit', storedAt };
  ctx.status = 200;
  ctx.set({ ...packageHeaders(found), ...cacheHeaders(ctx.state.record.cache) });
}

async function answerGet(
  ctx: PackageContext,
  { package: found, cache, blob }: Delivery,
  admission: Admission,
  leaving: AbortSignal,
): Promise<void> {
  const { record } = ctx.state;
  record.cache = cache;
  try {
    const { size } = found.layer;
    const range = parseRange(ctx.get('Range'), ctx.get('If-Range'), etagOf(found.digest), size);
    if (range.kind === 'unsatisfiable') throw rangeUnsatisfiable(size);
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
    const onSent = (bytes: number): unknown => (record.bytes += bytes);
    await sendInTurn(ctx, blob, admission, leaving, { start, end, writeHead, onSent });
  } finally {
    await blob.close();
  }
}
