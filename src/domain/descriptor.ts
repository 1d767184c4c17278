/** Digests, media types, and the descriptor that names a blob by them (image-spec, descriptor.md). */
import { createHash } from 'node:crypto';
import { InvalidArgumentError, InvalidContentError } from './errors.ts';

declare const brand: unique symbol;

/**
 * `sha256:` and 64 lower-case hex digits: the digest of the bytes of a blob. It is a string, so it can be a Map key, a log
 * field and a part of a path.
 */
export type Digest = string & { readonly [brand]: 'Digest' };

const SHA256 = /^sha256:[0-9a-f]{64}$/;

export function isDigest(text: string): text is Digest {
  return SHA256.test(text);
}

/** @throws InvalidArgumentError if `text` is not a sha256 digest in its canonical form. */
export function parseDigest(text: string): Digest {
  if (isDigest(text)) return text;
  throw new InvalidArgumentError('DIGEST_INVALID', 'digest must be "sha256:" and 64 lower-case hex digits');
}

/** Returns the digest of the bytes. */
export function digestOf(bytes: Uint8Array): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}` as Digest;
}

/** Computes the digest and the number of bytes of a sequence of chunks. */
export class Digester {
  readonly #hash = createHash('sha256');
  #bytes = 0;

  update(chunk: Uint8Array): void {
    this.#hash.update(chunk);
    this.#bytes += chunk.byteLength;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Must be called at most once. */
  digest(): Digest {
    return `sha256:${this.#hash.digest('hex')}` as Digest;
  }
}

/** The 64 hex digits after `sha256:`. */
export function digestHex(digest: Digest): string {
  return digest.slice('sha256:'.length);
}

/** Docker's types are synonyms of OCI's; a request to a registry accepts both. */
export const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
export const OCI_INDEX = 'application/vnd.oci.image.index.v1+json';

export const MANIFEST_MEDIA_TYPES: readonly string[] = [
  OCI_MANIFEST,
  'application/vnd.docker.distribution.manifest.v2+json',
];
export const INDEX_MEDIA_TYPES: readonly string[] = [
  OCI_INDEX,
  'application/vnd.docker.distribution.manifest.list.v2+json',
];
export const CONFIG_MEDIA_TYPES: readonly string[] = [
  'application/vnd.oci.image.config.v1+json',
  'application/vnd.docker.container.image.v1+json',
];

export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  /** The size in bytes. */
  readonly size: number;
  /** The verified content, if the publisher has put it into the descriptor. */
  readonly data?: Uint8Array;
}

/** The types that fit into a header: type and subtype have at most 127 characters each (RFC 6838, section 4.2). */
const MEDIA_TYPE = /^[\x21-\x7e]{1,255}$/;
/** The type of unknown content (RFC 2046, section 4.5.1). */
const ANY_BYTES = 'application/octet-stream';

/** @throws InvalidContentError if a field is missing or differs from the image-spec. */
export function parseDescriptor(json: unknown): Descriptor {
  const { mediaType, digest, size, data } = asObject(json, 'descriptor');
  if (typeof digest !== 'string') throw new InvalidContentError('descriptor without a digest');
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
    throw new InvalidContentError('descriptor without a size');
  }
  try {
    const descriptor = { mediaType: parseMediaType(mediaType), digest: parseDigest(digest), size };
    const content = parseData(data, descriptor);
    return content === undefined ? descriptor : { ...descriptor, data: content };
  } catch (cause) {
    throw new InvalidContentError('descriptor with a digest that is not sha256', { cause });
  }
}

/** The media type is only a label: the digest and the size identify the bytes. */
function parseMediaType(mediaType: unknown): string {
  return typeof mediaType === 'string' && MEDIA_TYPE.test(mediaType) ? mediaType : ANY_BYTES;
}

/**
 * Decodes base64 (image-spec, descriptor.md, "data"). Returns undefined if the bytes differ from the digest; the upstream
 * has them.
 */
function parseData(data: unknown, { digest, size }: Descriptor): Uint8Array | undefined {
  // The length rules out most other bytes without decoding: four characters encode three bytes, and padding is optional.
  if (typeof data !== 'string' || Math.ceil(size / 3) * 4 - data.length > 2) return undefined;
  const bytes = Buffer.from(data, 'base64');
  return bytes.byteLength === size && digestOf(bytes) === digest ? bytes : undefined;
}

export function isObject(json: unknown): json is object {
  return typeof json === 'object' && json !== null && !Array.isArray(json);
}

/** Returns a JSON object's own fields without inherited ones, so that `__proto__` is an ordinary field. */
export function asObject(json: unknown, what: string): Record<string, unknown> {
  if (!isObject(json)) throw new InvalidContentError(`${what} is not a JSON object`);
  return Object.assign(Object.create(null) as Record<string, unknown>, json);
}
