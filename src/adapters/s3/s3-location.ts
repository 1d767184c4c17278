/** The location of a bucket and the URLs of its objects; the keys are the paths of an OCI image layout (image-layout.md). */
import { type Digest, digestHex } from '../../domain/descriptor.ts';
import type { Registry } from '../../domain/upstream.ts';
import { ANONYMOUS } from '../../domain/credential.ts';

interface BucketSettings {
  readonly endpoint: URL;
  readonly name: string;
  /** The part of the key before `blobs/`; empty, or with a slash at its end. */
  readonly prefix: string;
  readonly region: string;
  /** Whether the bucket name is in the path of the URL, instead of before the host. */
  readonly pathStyle: boolean;
  /** PEM certificates that are trusted in addition to the default roots. */
  readonly ca: readonly string[];
}

export class S3Location {
  /** The URL of the bucket, which ends with a slash. */
  readonly url: URL;
  readonly region: string;
  readonly #prefix: string;
  readonly #ca: readonly string[];

  constructor({ endpoint, name, prefix, region, pathStyle, ca }: BucketSettings) {
    const base = endpoint.pathname.replace(/\/*$/, '/');
    this.url = pathStyle
      ? new URL(`${base}${name}/`, endpoint)
      : new URL(`${endpoint.protocol}//${name}.${endpoint.host}${base}`);
    this.region = region;
    this.#prefix = prefix;
    this.#ca = ca;
  }

  /** The server in the form for the transport; the signature of each request replaces the credential. */
  get server(): Registry {
    return serverOf(this.url, this.#ca);
  }

  objectOf(digest: Digest): URL {
    return new URL(`${this.#prefix}blobs/sha256/${digestHex(digest)}`, this.url);
  }

  /** The URL of a list of at most one key, which distinguishes a missing bucket from an empty one. */
  get listing(): URL {
    return new URL(`?list-type=2&max-keys=1&prefix=${encodeURIComponent(this.#prefix)}`, this.url);
  }
}

export function serverOf(url: URL, ca: readonly string[]): Registry {
  return { scheme: url.protocol === 'https:' ? 'https' : 'http', host: url.host, credential: ANONYMOUS, ca };
}

/** Returns undefined for a text that is not an http or https URL of a server. */
export function parseEndpoint(text: string): URL | undefined {
  const url = URL.parse(text);
  if (url === null || !['http:', 'https:'].includes(url.protocol) || url.hostname === '') return undefined;
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') return undefined;
  return url;
}
