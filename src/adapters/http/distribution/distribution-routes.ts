/** GET and HEAD under /v2/: a registry for clients that only read, such as containerd or another proxy instance. */
import type { Middleware, ParameterizedContext } from 'koa';
import type { ReadRepository } from '../../../application/read-repository.ts';
import type { Package, PackageRequest } from '../../../domain/reference.ts';
import { etagOf, matchesEtag, reprDigest, validatorHeaders } from '../package/package-headers.ts';
import { answerHead, answerManifest, type OpenDelivery, sendDelivery } from '../package/package-route.ts';
import type { Admission } from '../server/admission.ts';
import type { Feature, RequestState } from '../server/request-record.ts';
import { admitted, untilClosed } from '../server/send-blob.ts';
import { expectSafe } from '../server/strict-requests.ts';
import { traces } from '../server/trace-context.ts';
import {
  type DistributionPath,
  distributionRouteOf,
  parseDistributionPath,
  parseNamespace,
  PREFIX,
} from './distribution-path.ts';
import { API_VERSION, writeOciError } from './oci-errors.ts';

interface DistributionRoutes {
  readonly repositories: Pick<ReadRepository, 'find' | 'tagged' | 'manifest' | 'blob' | 'head'>;
  readonly admission: Admission;
}

type Context = ParameterizedContext<RequestState>;
type Content = Exclude<DistributionPath, { kind: 'base' }>;

/** A publisher can move a tag, so clients must revalidate it. */
const OF_TAG = { 'Cache-Control': 'private, no-cache' };

export function distributionFeature(options: DistributionRoutes): Feature {
  return {
    owns: (target) => target.startsWith(PREFIX),
    writeError: writeOciError,
    routeOf: distributionRouteOf,
    routes: distributionRoutes(options),
  };
}

function distributionRoutes({ repositories, admission }: DistributionRoutes): Middleware<RequestState> {
  const counted = admitted(admission);
  return async (ctx) => {
    const [target = ''] = ctx.url.split('?', 1);
    expectSafe(ctx.method, 'this registry is read-only');
    const path = parseDistributionPath(target);
    if (path.kind === 'base') {
      ctx.set({ ...API_VERSION, 'Cache-Control': 'no-store', 'X-Content-Type-Options': 'nosniff' });
      ctx.set('Content-Type', 'application/json');
      ctx.body = '{}';
    } else {
      await counted(ctx, () => answer(ctx, path));
    }
  };

  async function answer(ctx: Context, path: Content): Promise<void> {
    const place = await repositories.find(path.name, parseNamespace(ctx.querystring));
    await untilClosed(ctx.res, async (leaving) => {
      const { record } = ctx.state;
      if (path.kind === 'blobs') {
        await answerBlob(ctx, (record.package = { ...place, digest: path.digest }), leaving);
        return;
      }
      const { version } = path;
      const isTag = 'tag' in version;
      const digest = isTag
        ? await traces.run(record.trace, () => repositories.tagged(place, version.tag, leaving))
        : version.digest;
      const request = (record.package = { ...place, digest });
      const own = { ...API_VERSION, ...(isTag && OF_TAG) };
      await answerManifest(ctx, admission, digest, () => repositories.manifest(request), own);
    });
  }

  async function answerBlob(ctx: Context, request: PackageRequest, leaving: AbortSignal): Promise<void> {
    const { trace } = ctx.state.record;
    const known = matchesEtag(ctx.get('If-None-Match'), etagOf(request.digest));
    if (known !== false) {
      if (known === 'any') await traces.run(trace, () => repositories.head(request, leaving));
      ctx.status = 304;
      ctx.set({ ...validatorHeaders(request.digest), ...API_VERSION });
    } else if (ctx.method === 'HEAD') {
      answerHead(ctx, await traces.run(trace, () => repositories.head(request, leaving)), blobHeaders);
    } else {
      const open: OpenDelivery = (gone, turn) => repositories.blob(request, gone, turn);
      await sendDelivery(ctx, admission, open, blobHeaders);
    }
  }
}

function blobHeaders({ digest, layer }: Package): Record<string, string> {
  return {
    ...validatorHeaders(digest),
    ...API_VERSION,
    'Content-Type': layer.mediaType,
    'Content-Length': String(layer.size),
    'Accept-Ranges': 'bytes',
    'Repr-Digest': reprDigest(digest),
    'X-Content-Type-Options': 'nosniff',
  };
}
