/** The descriptor of a blob: digest, size and type (image-spec, descriptor.md). */
import { type Digest, digestOf, parseDigest } from './digest.ts';
import { InvalidContentError } from './errors.ts';

export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  /** The content itself, verified, when its publisher has put it into the descriptor. */
  readonly data?: Uint8Array;
}

/** The types that a header can carry: type and subtype have at most 127 characters each (RFC 6838, section 4.2). */
const MEDIA_TYPE = /^[\x21-\x7e]{1,255}$/;
/** Content of which nothing is known (RFC 2046, section 4.5.1). */
const ANY_BYTES = 'application/octet-stream';

/** @throws InvalidContentError when a field is missing or is not what the image-spec asks for. */
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

/** A label only: the digest and the size say which bytes these are. */
function parseMediaType(mediaType: unknown): string {
  return typeof mediaType === 'string' && MEDIA_TYPE.test(mediaType) ? mediaType : ANY_BYTES;
}

/** Base64 (image-spec, descriptor.md, "data"). Other bytes than those of the digest are left for the upstream to mend. */
function parseData(data: unknown, { digest, size }: Descriptor): Uint8Array | undefined {
  // The length tells other bytes apart without work: four characters stand for three bytes, at times padded.
  if (typeof data !== 'string' || Math.ceil(size / 3) * 4 - data.length > 2) return undefined;
  const bytes = Buffer.from(data, 'base64');
  return bytes.byteLength === size && digestOf(bytes) === digest ? bytes : undefined;
}

export function isObject(json: unknown): json is object {
  return typeof json === 'object' && json !== null && !Array.isArray(json);
}

/** A JSON object's own fields and nothing inherited, so that a field named `__proto__` is only a field. */
export function asObject(json: unknown, what: string): Record<string, unknown> {
  if (!isObject(json)) throw new InvalidContentError(`${what} is not a JSON object`);
  return Object.assign(Object.create(null) as Record<string, unknown>, json);
}
