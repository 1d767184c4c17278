/** Platforms, the entries of an index, and the choice of the entries for a platform (image-spec, image-index.md). */
import {
  asObject,
  CONFIG_MEDIA_TYPES,
  type Digest,
  INDEX_MEDIA_TYPES,
  isDigest,
  isObject,
  MANIFEST_MEDIA_TYPES,
} from './descriptor.ts';

export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
}

/** Parses `os/architecture[/variant]`, as container tools write it. */
export function parsePlatform(text: string): Platform | undefined {
  const match = /^([a-z0-9]+)\/([a-z0-9]+)(?:\/([a-z0-9]+))?$/.exec(text);
  if (match === null) return undefined;
  const [, os = '', architecture = '', variant] = match;
  return variant === undefined ? { os, architecture } : { os, architecture, variant };
}

export function formatPlatform({ os, architecture, variant }: Platform): string {
  return variant === undefined ? `${os}/${architecture}` : `${os}/${architecture}/${variant}`;
}

export interface IndexEntry {
  /** The digest is enough to fetch and verify the document, so the size and the type of the entry are not read. */
  readonly digest: Digest;
  readonly isIndex: boolean;
  readonly platform: Platform | undefined;
  readonly role: 'image' | 'artifact' | 'attestation';
}

const KNOWN_MEDIA_TYPES: ReadonlySet<unknown> = new Set([...MANIFEST_MEDIA_TYPES, ...INDEX_MEDIA_TYPES]);
const ATTESTATION = 'application/vnd.docker.attestation.manifest.v1+json';

/** Returns undefined for an entry that is malformed or of an unknown type, because the image may be in another entry. */
export function parseIndexEntry(json: unknown): IndexEntry | undefined {
  if (!isObject(json)) return undefined;
  const { digest, mediaType, platform, annotations, artifactType } = asObject(json, 'index entry');
  if (typeof digest !== 'string' || !isDigest(digest)) return undefined;
  const type = typeof mediaType === 'string' ? mediaType.split(';', 1)[0]?.trim().toLowerCase() : mediaType;
  if (!isAbsent(type) && !KNOWN_MEDIA_TYPES.has(type)) return undefined;
  const isIndex = INDEX_MEDIA_TYPES.some((known) => known === type);
  return { digest, isIndex, platform: parseEntryPlatform(platform), role: roleOf(annotations, artifactType) };
}

function isAbsent(field: unknown): boolean {
  return field === undefined || field === null || field === '';
}

/** A platform without names counts as absent; a malformed one matches no platform. */
function parseEntryPlatform(json: unknown): Platform | undefined {
  if (isAbsent(json)) return undefined;
  const { os, architecture, variant } = isObject(json) ? asObject(json, 'platform') : { os: json };
  if (isAbsent(os) && isAbsent(architecture)) return undefined;
  const platform = { os: textOf(os), architecture: textOf(architecture) };
  return isAbsent(variant) ? platform : { ...platform, variant: textOf(variant) };
}

/** The names that containerd takes for each other (`platforms.Normalize`): those of the kernel, and those of Go. */
const GO_NAMES: ReadonlyMap<string, string> = new Map([
  ['x86_64', 'amd64'],
  ['x86-64', 'amd64'],
  ['aarch64', 'arm64'],
  ['i386', '386'],
]);

function textOf(json: unknown): string {
  const text = typeof json === 'string' ? json.toLowerCase() : '';
  return GO_NAMES.get(text) ?? text;
}

/** BuildKit lists attestations beside their images; some tools give an attestation the platform of its image. */
function roleOf(annotations: unknown, artifactType: unknown): IndexEntry['role'] {
  const isAbout = isObject(annotations) && Object.hasOwn(annotations, 'vnd.docker.reference.type');
  if (isAbout || artifactType === ATTESTATION) return 'attestation';
  // The artifactType of an image is the type of its config (image-spec, descriptor.md).
  return isAbsent(artifactType) || CONFIG_MEDIA_TYPES.some((type) => type === artifactType) ? 'image' : 'artifact';
}

/** Returns the entries that may hold the image for a platform, the best match first. */
export function platformCandidates(entries: readonly IndexEntry[], wanted: Platform): IndexEntry[] {
  const images = entries.filter(({ role }) => role !== 'attestation');
  const isOnly = images.length === 1;
  return images
    .flatMap((entry) => {
      const distance = distanceOf(entry, wanted, isOnly);
      return distance === undefined ? [] : { entry, distance: entry.role === 'image' ? distance : distance + 3 };
    })
    .toSorted((a, b) => a.distance - b.distance)
    .map(({ entry }) => entry);
}

/**
 * Returns the distance of an entry from the wanted platform; undefined if the entry is for another one. An entry without a
 * platform stands for linux/amd64, as in go-containerregistry, and for any platform if it is the only entry.
 */
function distanceOf({ platform, isIndex }: IndexEntry, wanted: Platform, isOnly: boolean): number | undefined {
  if (platform === undefined) {
    const isDefault = wanted.os === 'linux' && wanted.architecture === 'amd64';
    return isIndex || isOnly || isDefault ? 2 : undefined;
  }
  if (platform.os !== wanted.os || platform.architecture !== wanted.architecture) return undefined;
  if (variantOf(platform) === variantOf(wanted)) return 0;
  return wanted.variant === undefined ? 1 : undefined;
}

/** `amd64/v1` equals `amd64`, and `arm64/v8` equals `arm64`: tools write the variant of the oldest processors or omit it. */
function variantOf({ architecture, variant = '' }: Platform): string {
  const oldest = { amd64: 'v1', arm64: 'v8' }[architecture];
  return variant === oldest ? '' : variant;
}
