/** GET and HEAD /manifest: the bytes by which a client verifies for itself that a package is the one that it asked for. */
import type { Middleware } from 'koa';
import type { AsyncLocalStorage } from 'node:async_hooks';
import type { ResolvePackage, VerifiedManifest } from '../../../application/resolve-package.ts';
import type { BlobReader } from '../../../domain/ports/package-store.ts';
import type { Admission } from '../server/admission.ts';
import { sendInTurn, untilClosed } from '../server/admitted.ts';
import { matchesEtag } from './conditional.ts';
import { etagOf, reprDigest, validatorHeaders } from './package-headers.ts';
import { parsePackageQuery } from './package-query.ts';
import type { RequestState } from '../server/request-record.ts';
import type { RequestTrace } from '../server/trace-context.ts';

/** Takes the query of /package. `traces` is where everything that a request begins finds the trace that it belongs to. */
export function manifestRoute(
  manifests: Pick<ResolvePackage, 'manifest'>,
  traces: AsyncLocalStorage<RequestTrace>,
  admission: Admission,
): Middleware<RequestState> {
  return async (ctx) => {
    const request = parsePackageQuery(ctx.querystring);
    const { record } = ctx.state;
    record.package = request;
    const { digest } = request;
    const known = matchesEtag(ctx.get('If-None-Match'), etagOf(digest));
    const find = (): Promise<VerifiedManifest> => traces.run(record.trace, () => manifests.manifest(request));
    if (known !== false) {
      if (known === 'any') await find();
      ctx.status = 304;
      ctx.set(validatorHeaders(digest));
      return;
    }
    const { mediaType, blob } = await open(find);
    const headers = {
      ...validatorHeaders(digest),
      'Content-Type': mediaType,
      'Content-Length': String(blob.size),
      'Repr-Digest': reprDigest(digest),
      'X-Content-Type-Options': 'nosniff',
    };
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
  };
}

/**
 * A manifest that waits for its turn is not kept in memory for that: up to 4 MiB, of a thousand requests. It is read again
 * from the cache then, which has it unless it is full or broken.
 */
async function open(
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
