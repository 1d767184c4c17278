/** Content addresses: the one name that a blob can prove by itself (OCI image-spec, descriptor.md#digests). */
import { createHash } from 'node:crypto';
import { InvalidArgumentError } from './errors.ts';

declare const brand: unique symbol;

/** `sha256:` and 64 lower-case hex digits. A string, so that it is a Map key, a log field and a path part as it is. */
export type Digest = string & { readonly [brand]: 'Digest' };

const SHA256 = /^sha256:[0-9a-f]{64}$/;

export function isDigest(text: string): text is Digest {
  return SHA256.test(text);
}

/** @throws InvalidArgumentError when `text` is anything but a sha256 digest in its canonical form. */
export function parseDigest(text: string): Digest {
  if (isDigest(text)) return text;
  throw new InvalidArgumentError('DIGEST_INVALID', 'digest must be "sha256:" and 64 lower-case hex digits');
}

/** The digest of these very bytes. */
export function digestOf(bytes: Uint8Array): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}` as Digest;
}

/** The digest and the number of bytes that come one chunk after the other. */
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

  /** To be called once. */
  digest(): Digest {
    return `sha256:${this.#hash.digest('hex')}` as Digest;
  }
}

/** The 64 hex digits after `sha256:`. */
export function digestHex(digest: Digest): string {
  return digest.slice('sha256:'.length);
}
