/** GET and HEAD of /package, and of /manifest, with which a client verifies that the package is the requested one. */
import type { Middleware, ParameterizedContext } from 'koa';
import type { Delivery, GetPackage, Head } from '../../../application/get-package.ts';
import type { ResolvePackage } from '../../../application/resolve-package.ts';
import type { VerifiedManifest } from '../../../application/manifests.ts';
import type { Digest } from '../../../domain/descriptor.ts';
import type { Package } from '../../../domain/reference.ts';
import type { BlobReader } from '../../../domain/ports/package-store.ts';
import type { Admission } from '../server/admission.ts';
import { sendInTurn, Turn, untilClosed } from '../server/send-blob.ts';
import { rangeUnsatisfiable } from '../server/problem.ts';
import type { RequestState } from '../server/request-record.ts';
import { traces } from '../server/trace-context.ts';
import {
  cacheHeaders,
  etagOf,
  matchesEtag,
  packageHeaders,
  parseRange,
  partHeaders,
  reprDigest,
  validatorHeaders,
} from './package-headers.ts';
import { parsePackageQuery } from './package-query.ts';

export interface PackageUseCases {
  readonly get: Pick<GetPackage, 'execute' | 'head'>;
  readonly manifests: Pick<ResolvePackage, 'manifest'>;
}

type PackageContext = ParameterizedContext<RequestState>;

export function packageRoute(get: PackageUseCases['get'], admission: Admission): Middleware<RequestState> {
  return async (ctx) => {
    const request = parsePackageQuery(ctx.querystring);
    const { record } = ctx.state;
    record.package = request;
    const known = matchesEtag(ctx.get('If-None-Match'), etagOf(request.digest));
    if (known !== false) {
      // Content under a digest does not change. Only `*` asks whether it exists; a client with the entity tag knows that.
      if (known === 'any') await traces.run(record.trace, () => get.head(request));
      ctx.status = 304;
      ctx.set(validatorHeaders(request.digest));
    } else if (ctx.method === 'HEAD') {
      answerHead(ctx, await traces.run(record.trace, () => get.head(request)), packageHeaders);
    } else {
      const open: OpenDelivery = (leaving, turn) => get.execute(request, leaving, turn);
      await sendDelivery(ctx, admission, open, packageHeaders);
    }
  };
}

/** Opens a body for a client that may leave. The body begins when the turn of the client has come. */
export type OpenDelivery = (leaving: AbortSignal, turn: (bytes: number) => Promise<void>) => Promise<Delivery>;
type DescribePackage = (found: Package) => Record<string, string>;

/** Sends a body, or the requested part of it, in its turn. */
export async function sendDelivery(
  ctx: PackageContext,
  admission: Admission,
  open: OpenDelivery,
  headersOf: DescribePackage,
): Promise<void> {
  const { trace } = ctx.state.record;
  await untilClosed(ctx.res, async (leaving) => {
    const turn = new Turn(ctx.res, admission, leaving);
    try {
      const delivery = await traces.run(trace, () => open(leaving, (bytes) => turn.wait(bytes)));
      const answer = (): Promise<void> => answerGet(ctx, delivery, turn, headersOf);
      // An asynchronous context makes Node's writes slower, and a hit sends no upstream requests with a trace (ADR 17).
      await (delivery.cache.kind === 'hit' ? answer() : traces.run(trace, answer));
    } finally {
      turn.end();
    }
  });
}

export function answerHead(ctx: PackageContext, { package: found, storedAt }: Head, headersOf: DescribePackage): void {
  ctx.state.record.cache = storedAt && { kind: 'hit', storedAt };
  ctx.status = 200;
  ctx.set({ ...headersOf(found), ...cacheHeaders(ctx.state.record.cache) });
}

async function answerGet(
  ctx: PackageContext,
  { package: found, cache, blob }: Delivery,
  turn: Turn,
  headersOf: DescribePackage,
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
      // One call sets all headers: one call for each header, in Koa and then in Node, took a tenth of the time of a small
      // hit.
      ctx.res.writeHead(range.kind === 'part' ? 206 : 200, {
        ...headersOf(found),
        ...cacheHeaders(cache),
        ...(range.kind === 'part' && partHeaders(range, size)),
        'X-Request-Id': record.id,
      });
    };
    const onSent = (bytes: number): unknown => (record.bytes += bytes);
    await turn.send(blob, { start, end, writeHead, onSent });
  } finally {
    await blob.close();
  }
}

/** The route has the query of /package. */
export function manifestRoute(
  manifests: Pick<ResolvePackage, 'manifest'>,
  admission: Admission,
): Middleware<RequestState> {
  return async (ctx) => {
    const request = parsePackageQuery(ctx.querystring);
    ctx.state.record.package = request;
    await answerManifest(ctx, admission, request.digest, () => manifests.manifest(request));
  };
}

/** Answers with the manifest that `find` returns; `own` adds or replaces headers. */
export async function answerManifest(
  ctx: PackageContext,
  admission: Admission,
  digest: Digest,
  find: () => Promise<VerifiedManifest>,
  own: Readonly<Record<string, string>> = {},
): Promise<void> {
  const { record } = ctx.state;
  const known = matchesEtag(ctx.get('If-None-Match'), etagOf(digest));
  const traced = (): Promise<VerifiedManifest> => traces.run(record.trace, find);
  if (known !== false) {
    if (known === 'any') await traced();
    ctx.status = 304;
    ctx.set({ ...validatorHeaders(digest), ...own });
    return;
  }
  const { mediaType, blob } = await openManifest(traced);
  const headers = {
    ...validatorHeaders(digest),
    'Content-Type': mediaType,
    'Content-Length': String(blob.size),
    'Repr-Digest': reprDigest(digest),
    'X-Content-Type-Options': 'nosniff',
    ...own,
  };
  await answerWhole(ctx, admission, blob, headers);
}

/** Answers GET and HEAD with a whole body, which the caller closes. */
export async function answerWhole(
  ctx: PackageContext,
  admission: Admission,
  blob: BlobReader,
  headers: Readonly<Record<string, string>>,
): Promise<void> {
  const { record } = ctx.state;
  if (ctx.method === 'HEAD') {
    ctx.status = 200;
    ctx.set(headers);
    return;
  }
  const writeHead = (): void => {
    ctx.respond = false;
    ctx.res.writeHead(200, { ...headers, 'X-Request-Id': record.id });
  };
  const onSent = (sent: number): unknown => (record.bytes += sent);
  await untilClosed(ctx.res, (leaving) =>
    sendInTurn(ctx, blob, admission, leaving, { start: 0, end: blob.size, writeHead, onSent }),
  );
}

/**
 * A manifest that waits for its turn does not stay in memory, because a thousand requests may wait with up to 4 MiB each.
 * Afterwards it is read again from the cache, which has it unless it is full or broken.
 */
async function openManifest(
  find: () => Promise<VerifiedManifest>,
): Promise<{ readonly mediaType: string; readonly blob: BlobReader }> {
  const { document, bytes } = await find();
  const held = new WeakRef(bytes);
  return {
    mediaType: document.mediaType,
    blob: {
      size: bytes.byteLength,
      read: async (offset) => (held.deref() ?? (await find()).bytes).subarray(offset),
      close: () => Promise.resolve(),
    },
  };
}
