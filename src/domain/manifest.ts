/** Image manifests and indexes, and which blob of an image is the package (image-spec, manifest.md and image-index.md). */
import { parseWeighedJson, weighingSteps } from './bounded-json.ts';
import {
  asObject,
  type Descriptor,
  INDEX_MEDIA_TYPES,
  MANIFEST_MEDIA_TYPES,
  OCI_INDEX,
  OCI_MANIFEST,
  parseDescriptor,
} from './descriptor.ts';
import { InvalidContentError } from './errors.ts';
import { type IndexEntry, parseIndexEntry } from './index-entry.ts';

/**
 * The size that a registry must accept at least (distribution-spec, pushing manifests), and the largest that this service
 * accepts.
 */
export const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;
/** The largest number of entries, far above any real image, as a limit for hostile input. */
const MAX_ENTRIES = 1000;

export interface Manifest {
  readonly kind: 'manifest';
  readonly mediaType: string;
  /** Undefined if it is absent or malformed: no package depends on it. */
  readonly config: Descriptor | undefined;
  /** The last layer is the package; malformed ones among the others are omitted. */
  readonly layers: readonly Descriptor[];
}

export interface Index {
  readonly kind: 'index';
  readonly mediaType: string;
  /** Entries that are malformed or of an unknown type are omitted, as image-spec tells readers. */
  readonly manifests: readonly IndexEntry[];
}

/** @throws InvalidContentError if the bytes are neither a manifest nor an index. */
export function parseManifest(bytes: Uint8Array): Manifest | Index {
  const steps = manifestSteps(bytes);
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

/**
 * `parseManifest` in steps, so that a large document does not block the event loop: each step of 4 MiB takes at most 20 ms.
 * @throws InvalidContentError
 */
export function* manifestSteps(bytes: Uint8Array): Generator<undefined, Manifest | Index, undefined> {
  const weighing = weighingSteps(bytes);
  while (asJson(() => weighing.next()).done !== true) yield;
  const json = asObject(
    asJson(() => parseWeighedJson(bytes)),
    'manifest',
  );
  yield;
  return manifestOf(json);
}

function manifestOf(json: Record<string, unknown>): Manifest | Index {
  const mediaType = json['mediaType'] ?? '';
  if (typeof mediaType !== 'string') throw new InvalidContentError('mediaType is not text');
  if (kindOf(json, mediaType) === 'index') {
    const entries = asArray(json['manifests'], 'manifests').flatMap((entry) => parseIndexEntry(entry) ?? []);
    return { kind: 'index', mediaType: knownOr(mediaType, OCI_INDEX), manifests: entries };
  }
  return {
    kind: 'manifest',
    mediaType: knownOr(mediaType, OCI_MANIFEST),
    config: parseOptional(json['config']),
    layers: parseLayers(asArray(json['layers'], 'layers')),
  };
}

/** Chooses the kind by the media type, or by the fields if the type is unknown, as Go's library does. */
function kindOf({ layers, manifests }: Record<string, unknown>, mediaType: string): 'manifest' | 'index' {
  const isKnown = isKnownType(mediaType);
  const isIndex = isKnown
    ? INDEX_MEDIA_TYPES.includes(mediaType)
    : hasContent(manifests) || (manifests !== undefined && layers === undefined);
  const isManifest = !isIndex && (isKnown || layers !== undefined);
  // A document of both kinds is an attack on readers that choose by one field only (CVE-2021-41190).
  if (isIndex === isManifest || hasContent(isIndex ? layers : manifests)) {
    throw new InvalidContentError('neither an image manifest nor an index');
  }
  return isIndex ? 'index' : 'manifest';
}

function isKnownType(mediaType: string): boolean {
  return INDEX_MEDIA_TYPES.includes(mediaType) || MANIFEST_MEDIA_TYPES.includes(mediaType);
}

/** An unknown type is not used, because it may not fit into a header. */
function knownOr(mediaType: string, byFields: string): string {
  return isKnownType(mediaType) ? mediaType : byFields;
}

function hasContent(list: unknown): boolean {
  return Array.isArray(list) ? list.length > 0 : list !== undefined && list !== null;
}

function parseLayers(layers: readonly unknown[]): Descriptor[] {
  const last = layers.slice(-1).map(parseDescriptor);
  return [...layers.slice(0, -1).flatMap((layer) => parseOptional(layer) ?? []), ...last];
}

/** Parses a descriptor that the package does not depend on; returns undefined if it is malformed. */
function parseOptional(json: unknown): Descriptor | undefined {
  try {
    return parseDescriptor(json);
  } catch (error) {
    if (!(error instanceof InvalidContentError)) throw error;
    return undefined;
  }
}

/** The package is the last layer, still compressed. */
export function packageLayer({ layers }: Pick<Manifest, 'layers'>): Descriptor {
  const layer = layers.at(-1);
  if (layer === undefined) throw new InvalidContentError('image has no layers');
  return layer;
}

function asJson<Result>(parse: () => Result): Result {
  try {
    return parse();
  } catch (cause) {
    throw new InvalidContentError('manifest is not JSON, or too large', { cause });
  }
}

/** Programs in Go encode an empty list as `null`. */
function asArray(json: unknown, what: string): unknown[] {
  const list = json ?? [];
  if (!Array.isArray(list)) throw new InvalidContentError(`${what} is not a list`);
  if (list.length > MAX_ENTRIES) throw new InvalidContentError(`${what} has more than ${String(MAX_ENTRIES)} entries`);
  return list;
}
