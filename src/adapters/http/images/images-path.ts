/** Parses a request under /v1/images/: the image, its version or its tags, and its platform. */
import { type Digest, isDigest } from '../../../domain/descriptor.ts';
import { InvalidArgumentError } from '../../../domain/errors.ts';
import type { Platform } from '../../../domain/index-entry.ts';
import { isTag, parseRepositoryPath, type RepositoryPath, type Tag } from '../../../domain/reference.ts';
import { readParameters } from '../package/package-query.ts';
import { RefusedError } from '../server/problem.ts';
import { pathSegments } from '../server/strict-requests.ts';

export const PREFIX = '/v1/images/';

export function isImagesTarget(target: string): boolean {
  return target.startsWith(PREFIX);
}

export type ImagesPath =
  | { readonly action: 'tags'; readonly image: RepositoryPath }
  | { readonly action: 'images' | 'manifests'; readonly image: RepositoryPath; readonly reference: string };

/** The image of the command line and its plugins; the service names no other images of the registry. */
const COMMAND_LINE = 'deckhouse-cli';
const PLUGINS = 'plugins';
const PLUGIN = /^[a-z0-9]+(?:[._-][a-z0-9]+)*$/;
const MAX_PLUGIN_LENGTH = 128;

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

/** Returns a digest or a tag; undefined for a text that is neither. */
export function parseReference(text: string): { readonly digest: Digest } | { readonly tag: Tag } | undefined {
  if (isDigest(text)) return { digest: text };
  return isTag(text) ? { tag: text } : undefined;
}

function unknown(): RefusedError {
  return new RefusedError('PAGE_UNKNOWN', '404 page not found');
}

const PLATFORM = /^([a-z0-9]+)-([a-z0-9]+)$/;

/** Returns undefined if there is no platform in the query. @throws InvalidArgumentError */
export function parsePlatformQuery(query: string): Platform | undefined {
  const { platform } = readParameters(query, ['platform']);
  if (platform === '') return undefined;
  const [, os, architecture] = PLATFORM.exec(platform) ?? [];
  if (os === undefined || architecture === undefined)
    throw new InvalidArgumentError('QUERY_INVALID', 'invalid platform');
  return { os, architecture };
}
