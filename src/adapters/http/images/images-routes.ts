/** GET and HEAD /v1/images/…: the command line and its plugins by tag, for machines without access to the registry. */
import type { Middleware, ParameterizedContext } from 'koa';
import type { GetImage } from '../../../application/get-image.ts';
import { InvalidArgumentError, InvalidContentError } from '../../../domain/errors.ts';
import type { Platform } from '../../../domain/index-entry.ts';
import {
  type ImageVersion,
  parseImageVersion,
  parseRepositoryPath,
  type RepositoryPath,
} from '../../../domain/reference.ts';
import { isVersionTag } from '../../../domain/semantic-version.ts';
import type { Admission } from '../server/admission.ts';
import { admitted } from '../server/send-blob.ts';
import { etagOf, matchesEtag, reprDigest } from '../package/package-headers.ts';
import { readParameters } from '../package/package-query.ts';
import type { PackageUseCases } from '../package/package-route.ts';
import { RefusedError, reworded } from '../server/problem.ts';
import type { Feature, RequestState } from '../server/request-record.ts';
import { expectSafe, pathSegments } from '../server/strict-requests.ts';
import { traces } from '../server/trace-context.ts';
import { cacheControl, imageDownload } from './image-download.ts';
import { HeadDeadline } from './head-deadline.ts';

/** The clients wait 30 s for the head of a response. */
const HEAD_TIMEOUT_MS = 25_000;
/** The clients read at most this much of a list. */
const MAX_LIST_BYTES = 4 << 20;
const SAFE = { 'X-Content-Type-Options': 'nosniff' };

const PREFIX = '/v1/images/';
/** The image of the command line and its plugins; the service names no other images of the registry. */
const COMMAND_LINE = 'deckhouse-cli';
const PLUGINS = 'plugins';
const PLUGIN = /^[a-z0-9]+(?:[._-][a-z0-9]+)*$/;
const MAX_PLUGIN_LENGTH = 128;

type ImagesPath =
  | { readonly action: 'tags'; readonly image: RepositoryPath }
  | { readonly action: 'images' | 'manifests'; readonly image: RepositoryPath; readonly reference: string };

export interface ImagesRoutes {
  readonly images: Pick<GetImage, 'tags' | 'manifest' | 'image'>;
  readonly packages: Pick<PackageUseCases, 'get'>;
  readonly admission: Admission;
}

type Context = ParameterizedContext<RequestState>;

export function imagesFeature(options: ImagesRoutes): Feature {
  return { owns: (target) => target.startsWith(PREFIX), routeOf, routes: imagesRoutes(options) };
}

function routeOf(path: string): string | undefined {
  try {
    return `${PREFIX}${parseImagesPath(path).action}`;
  } catch {
    return undefined;
  }
}

function imagesRoutes({ images, packages, admission }: ImagesRoutes): Middleware<RequestState> {
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
  const version = parseImageVersion(reference);
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
): { readonly version: ImageVersion; readonly platform: Platform | undefined } {
  const version = parseImageVersion(reference);
  if (version === undefined) throw new RefusedError('REFERENCE_UNKNOWN', 'version not found');
  return { version, platform: parsePlatformQuery(ctx.querystring) };
}

/** Parses the raw path without its query. @throws RefusedError if it is not the path of a served image. */
export function parseImagesPath(path: string): ImagesPath {
  const segments = pathSegments(path.slice(PREFIX.length)) ?? [];
  const [first, second, name] = segments;
  const isPlugin = second === PLUGINS && name !== undefined && name.length <= MAX_PLUGIN_LENGTH && PLUGIN.test(name);
  const [action, reference, ...rest] = segments.slice(isPlugin ? 3 : 1);
  if (first !== COMMAND_LINE || rest.length > 0) throw unknown();
  const image = parseRepositoryPath(isPlugin ? `${first}/${PLUGINS}/${name}` : first);
  if (action === 'tags' && reference === undefined) return { action, image };
  if ((action === 'images' || action === 'manifests') && reference !== undefined) return { action, image, reference };
  throw unknown();
}

function unknown(): RefusedError {
  return new RefusedError('PAGE_UNKNOWN', '404 page not found');
}

const PLATFORM = /^([a-z0-9]+)-([a-z0-9]+)$/;

/** Returns undefined if there is no platform in the query. @throws InvalidArgumentError */
function parsePlatformQuery(query: string): Platform | undefined {
  const { platform } = readParameters(query, ['platform']);
  if (platform === '') return undefined;
  const [, os, architecture] = PLATFORM.exec(platform) ?? [];
  if (os === undefined || architecture === undefined)
    throw new InvalidArgumentError('QUERY_INVALID', 'invalid platform');
  return { os, architecture };
}
