/** GET and HEAD /v1/images/…: the command line and its plugins by tag, for machines without access to the registry. */
import type { Middleware, ParameterizedContext } from 'koa';
import type { GetImage } from '../../../application/get-image.ts';
import { InvalidContentError } from '../../../domain/errors.ts';
import type { Platform } from '../../../domain/index-entry.ts';
import { isVersionTag } from '../../../domain/semantic-version.ts';
import type { Admission } from '../server/admission.ts';
import { admitted } from '../server/send-blob.ts';
import { etagOf, matchesEtag, reprDigest } from '../package/package-headers.ts';
import { readParameters } from '../package/package-query.ts';
import type { PackageUseCases } from '../package/package-route.ts';
import { RefusedError, reworded } from '../server/problem.ts';
import type { RequestState } from '../server/request-record.ts';
import { expectSafe } from '../server/strict-requests.ts';
import { traces } from '../server/trace-context.ts';
import { cacheControl, imageDownload } from './image-download.ts';
import { HeadDeadline } from './head-deadline.ts';
import { type ImagesPath, parseImagesPath, parsePlatformQuery, parseReference, PREFIX } from './images-path.ts';

/** The clients wait 30 s for the head of a response. */
const HEAD_TIMEOUT_MS = 25_000;
/** The clients read at most this much of a list. */
const MAX_LIST_BYTES = 4 << 20;
const SAFE = { 'X-Content-Type-Options': 'nosniff' };

export interface ImagesRoutes {
  readonly images: Pick<GetImage, 'tags' | 'manifest' | 'image'>;
  readonly packages: Pick<PackageUseCases, 'get'>;
  readonly admission: Admission;
}

type Context = ParameterizedContext<RequestState>;

/** Returns the name of the route for metrics and the log; undefined for other paths. */
export function imagesRouteOf(path: string): string | undefined {
  try {
    return `${PREFIX}${parseImagesPath(path).action}`;
  } catch {
    return undefined;
  }
}

/** Answers requests under /v1/images/. */
export function imagesRoutes({ images, packages, admission }: ImagesRoutes): Middleware<RequestState> {
  const download = imageDownload(packages.get, admission);
  const counted = admitted(admission);
  return async (ctx) => {
    const [target = ''] = ctx.url.split('?', 1);
    const path = parseImagesPath(target);
    expectSafe(ctx.method);
    await counted(ctx, async () => {
      const head = new HeadDeadline(HEAD_TIMEOUT_MS);
      try {
        await traces.run(ctx.state.record.trace, async () => {
          if (path.action === 'tags') await sendTags(ctx, path, images, head);
          else if (path.action === 'manifests') await sendManifest(ctx, path, images, head);
          else {
            const { platform, version } = parseImageRequest(ctx, path);
            const words = { unknown: 'version not found', failed: 'failed to resolve version' };
            const finding = head.meet(images.image(path.image, version, platform, head.signal));
            const request = await reworded(words, finding);
            const name = `${path.image.slice(path.image.lastIndexOf('/') + 1)}-${path.reference}`;
            await download(ctx, { request, name, isTag: 'tag' in version, head });
          }
        });
      } finally {
        head.end();
      }
    });
  };
}

async function sendTags(
  ctx: Context,
  { image }: ImagesPath,
  images: ImagesRoutes['images'],
  head: HeadDeadline,
): Promise<void> {
  readParameters(ctx.querystring, []);
  const listing = head.meet(images.tags(image, head.signal)).then((tags) => listOf(image, tags));
  const body = await reworded({ unknown: 'image not found', failed: 'failed to list tags' }, listing);
  ctx.set({ ...SAFE, 'Content-Type': 'application/json', 'Cache-Control': 'no-store' });
  ctx.body = body;
}

/** Omits signatures and similar tags only from a list that is too long for the clients. */
function listOf(name: string, tags: readonly string[]): string {
  for (const each of [tags, tags.filter(isVersionTag)]) {
    const list = JSON.stringify({ name, tags: each });
    if (list.length <= MAX_LIST_BYTES) return list;
  }
  throw new InvalidContentError('list of tags is larger than 4 MiB');
}

async function sendManifest(
  ctx: Context,
  { image, reference }: Extract<ImagesPath, { reference: string }>,
  images: ImagesRoutes['images'],
  head: HeadDeadline,
): Promise<void> {
  const version = parseReference(reference);
  if (version === undefined) throw new RefusedError('REFERENCE_UNKNOWN', 'manifest not found');
  readParameters(ctx.querystring, []);
  const words = { unknown: 'manifest not found', failed: 'failed to read manifest' };
  const { digest, bytes, document } = await reworded(words, head.meet(images.manifest(image, version, head.signal)));
  ctx.set({
    ...SAFE,
    'Content-Type': document.mediaType,
    'Cache-Control': cacheControl('tag' in version),
    ETag: etagOf(digest),
    'Docker-Content-Digest': digest,
    'Repr-Digest': reprDigest(digest),
  });
  if (matchesEtag(ctx.get('If-None-Match'), etagOf(digest)) !== false) ctx.status = 304;
  else ctx.body = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function parseImageRequest(
  ctx: Context,
  { reference }: Extract<ImagesPath, { reference: string }>,
): { readonly version: NonNullable<ReturnType<typeof parseReference>>; readonly platform: Platform | undefined } {
  const version = parseReference(reference);
  if (version === undefined) throw new RefusedError('REFERENCE_UNKNOWN', 'version not found');
  return { version, platform: parsePlatformQuery(ctx.querystring) };
}
