/** GET and HEAD /v1/packages/<repository>/<package>/metadata/icon[/<version>]: icons for a page that lists packages. */
import type { Middleware, ParameterizedContext } from 'koa';
import { type GetIcon, IconError, type IconRequest, type IconStep } from '../../../application/get-icon.ts';
import type { Icon } from '../../../application/kept-icons.ts';
import { InvalidArgumentError } from '../../../domain/errors.ts';
import type { BlobReader } from '../../../domain/ports/package-store.ts';
import { parseRepositoryName, parseRepositoryPath } from '../../../domain/reference.ts';
import { isVersionTag } from '../../../domain/semantic-version.ts';
import type { Admission } from '../server/admission.ts';
import { admitted } from '../server/send-blob.ts';
import { etagOf, matchesEtag } from '../package/package-headers.ts';
import { readParameters } from '../package/package-query.ts';
import { answerWhole } from '../package/package-route.ts';
import { overloaded, RefusedError, reworded, type Words } from '../server/problem.ts';
import type { Feature, RequestState } from '../server/request-record.ts';
import { expectSafe, pathSegments } from '../server/strict-requests.ts';
import { traces } from '../server/trace-context.ts';

/** The requests at a time. Their clients need no token, so they must leave places to packages. */
const MAX_RUNNING = 512;

const PREFIX = '/v1/packages/';
/** The name of an object of the cluster (RFC 1123, subdomain). */
const OBJECT = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/;
const MAX_OBJECT_LENGTH = 253;

export interface IconRoute {
  readonly icons: Pick<GetIcon, 'execute'>;
  readonly admission: Admission;
}

const TYPES: Readonly<Record<string, string>> = {
  svg: 'image/svg+xml',
  png: 'image/png',
  jpg: 'image/jpeg',
  jpeg: 'image/jpeg',
};

/** An SVG is an untrusted document: the policy permits no script and no loading. */
const HARMLESS = {
  'Content-Security-Policy': "default-src 'none'; style-src 'unsafe-inline'; sandbox",
  'X-Content-Type-Options': 'nosniff',
};

const FETCH_FAILED = 'failed to fetch package';
const WORDS: Readonly<Record<IconStep, Words>> = {
  repository: { unknown: 'package repository not found', failed: 'package repository not found' },
  listing: { unknown: 'package not found', failed: 'failed to list tags' },
  tags: { unknown: 'no tags found', failed: 'failed to list tags' },
  versions: { unknown: 'no valid tags found', failed: 'failed to list tags' },
  tag: { unknown: 'tag not found', failed: 'failed to resolve tag' },
  image: { unknown: 'package not found', failed: FETCH_FAILED },
  icon: { unknown: 'icon not found', failed: FETCH_FAILED },
};

export function iconFeature(options: IconRoute): Feature {
  return { owns: (target) => target.startsWith(PREFIX), routeOf: iconRouteOf, routes: iconRoute(options) };
}

export function iconRouteOf(path: string): string | undefined {
  try {
    parseIconPath(path);
    return `${PREFIX}icon`;
  } catch {
    return undefined;
  }
}

function iconRoute({ icons, admission }: IconRoute): Middleware<RequestState> {
  const counted = admitted(admission);
  let running = 0;
  return async (ctx) => {
    expectSafe(ctx.method);
    const [target = ''] = ctx.url.split('?', 1);
    const request = parseIconPath(target);
    // The route has no parameters, but an ambiguous query is refused.
    readParameters(ctx.querystring, []);
    if (running >= MAX_RUNNING) throw overloaded('too many icons are fetched at a time');
    running++;
    try {
      await counted(ctx, async () => {
        const icon = await traces.run(ctx.state.record.trace, () => find(icons, request));
        await send(ctx, request, icon, admission);
      });
    } finally {
      running--;
    }
  };
}

async function find(icons: IconRoute['icons'], request: IconRequest): Promise<Icon> {
  try {
    return await icons.execute(request);
  } catch (error) {
    if (!(error instanceof IconError)) throw error;
    return reworded(WORDS[error.step], Promise.reject(error.error));
  }
}

async function send(
  ctx: ParameterizedContext<RequestState>,
  { package: name, version }: IconRequest,
  { name: path, bytes, manifest }: Icon,
  admission: Admission,
): Promise<void> {
  const extension = path.slice(path.lastIndexOf('.') + 1);
  const validators = {
    ...HARMLESS,
    ETag: etagOf(manifest),
    'Docker-Content-Digest': manifest,
    // The latest version changes. Each client may read an icon, so shared caches may store it.
    'Cache-Control': version === undefined ? 'public, max-age=300' : 'public, max-age=31536000, immutable',
  };
  if (matchesEtag(ctx.get('If-None-Match'), etagOf(manifest)) !== false) {
    ctx.set(validators);
    ctx.status = 304;
    return;
  }
  const headers = {
    ...validators,
    'Content-Type': TYPES[extension] ?? 'application/octet-stream',
    'Content-Length': String(bytes.byteLength),
    'Content-Disposition': `attachment; filename="${name}.${extension}"`,
  };
  await answerWhole(ctx, admission, readerOf(bytes), headers);
}

function readerOf(bytes: Uint8Array): BlobReader {
  return {
    size: bytes.byteLength,
    read: (offset) => Promise.resolve(bytes.subarray(offset)),
    close: () => Promise.resolve(),
  };
}

/** Parses the raw path without its query. @throws RefusedError if it is not the path of an icon. */
export function parseIconPath(path: string): IconRequest {
  const [repository = '', name = '', metadata, icon, version, ...rest] = pathSegments(path.slice(PREFIX.length)) ?? [];
  const isIcon = metadata === 'metadata' && icon === 'icon' && rest.length === 0;
  const isObject = repository.length <= MAX_OBJECT_LENGTH && OBJECT.test(repository);
  if (!isIcon || !isObject || (version !== undefined && !isVersionTag(version))) throw badRequest();
  try {
    return { repository: parseRepositoryName(repository), package: parseRepositoryPath(name), version };
  } catch (error) {
    throw error instanceof InvalidArgumentError ? badRequest() : error;
  }
}

function badRequest(): RefusedError {
  return new RefusedError('REQUEST_INVALID', 'bad request');
}
