/** RegistryGateway to OCI and Docker registries (distribution-spec, pull), and ImageCatalog of their tags. */
import {
  type Descriptor,
  type Digest,
  digestOf,
  INDEX_MEDIA_TYPES,
  isDigest,
  MANIFEST_MEDIA_TYPES,
  OCI_INDEX,
} from '../../domain/descriptor.ts';
import { DigestMismatchError, InvalidArgumentError, type PackageError } from '../../domain/errors.ts';
import type {
  BlobSizes,
  ImageCatalog,
  Operation,
  Referrer,
  RegistryGateway,
} from '../../domain/ports/registry-gateway.ts';
import { dialledHost, type Registry, type Upstream } from '../../domain/upstream.ts';
import type { Tag } from '../../domain/reference.ts';
import { downloadBlob } from './blob-download.ts';
import { readBlobSize } from './blob-size.ts';
import { type ProxyVariables, type SharedPools, sharePools } from './transport/agents.ts';
import { HostAuthorizations } from './auth/authorization.ts';
import type { HttpSettings } from './transport/exchange.ts';
import { HttpClient } from './transport/http-client.ts';
import { type HttpRequest, type HttpResponse, refusal } from './transport/http-message.ts';
import { readManifest, readReferrers, readTags } from './documents.ts';
import type { Senders } from './senders.ts';
import { ConnectionRefusedError } from './transport/retried-exchange.ts';
import { type Asked, failure } from './upstream-errors.ts';

interface OciRegistryGatewayOptions extends Omit<HttpSettings, 'pools'> {
  readonly environment: ProxyVariables;
  /** Records which host sends the bytes of a digest. */
  readonly senders?: Senders;
  /** Milliseconds on a clock that never jumps; tests replace it. */
  readonly now?: () => number;
}

/** All four types, because a registry answers 404 for a manifest whose type is not accepted. */
const ACCEPT = [...MANIFEST_MEDIA_TYPES, ...INDEX_MEDIA_TYPES].join(', ');

const JSON_ONLY = { accept: 'application/json' };

interface Connection {
  readonly client: HttpClient;
  /** The URL of the registry. */
  readonly home: URL;
  readonly authorizations: HostAuthorizations;
}

export class OciRegistryGateway implements RegistryGateway, ImageCatalog, BlobSizes {
  readonly #options: OciRegistryGatewayOptions;
  readonly #pools: SharedPools;
  /** The connections of each registry object. When the object is no longer used, its sockets and tokens are freed. */
  readonly #connections = new WeakMap<Registry, Connection>();

  constructor(options: OciRegistryGatewayOptions) {
    this.#options = options;
    this.#pools = sharePools(options.connectTimeoutMs, options.environment);
  }

  async fetchManifest(upstream: Upstream, digest: Digest, signal: AbortSignal): Promise<Uint8Array> {
    const asked = askedOf(upstream, 'manifest');
    const response = await this.#get(upstream, asked, `manifests/${digest}`, { headers: { accept: ACCEPT } }, signal);
    if (response.status !== 200) throw await refusal(response);
    try {
      const bytes = await readManifest(digest, response, this.#options.idleTimeoutMs);
      this.#options.senders?.sent(digest, response.asked);
      return bytes;
    } catch (error) {
      throw failure(response.asked, error, signal);
    }
  }

  fetchBlob(
    upstream: Upstream,
    blob: Descriptor,
    offset: number,
    signal: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array>> {
    const asked = askedOf(upstream, 'blob');
    const { idleTimeoutMs, senders } = this.#options;
    // The client of a resumed download has received the beginning and waits for its next byte.
    const patience = offset > 0 ? { patienceMs: idleTimeoutMs } : {};
    const get = (headers: Readonly<Record<string, string>>): Promise<HttpResponse> =>
      this.#get(upstream, asked, `blobs/${blob.digest}`, { headers, ...patience }, signal);
    return downloadBlob({ blob, idleTimeoutMs, signal, senders, get }, offset);
  }

  blobSize(upstream: Upstream, digest: Digest, signal: AbortSignal): Promise<number> {
    const asked = askedOf(upstream, 'blob');
    const ask = (request: Pick<HttpRequest, 'headers' | 'isHead'>): Promise<HttpResponse> =>
      this.#get(upstream, asked, `blobs/${digest}`, { ...request, isBulk: false }, signal);
    return readBlobSize({ asked, head: () => ask({ headers: {}, isHead: true }), get: (headers) => ask({ headers }) });
  }

  knownRefusal(upstream: Upstream, operation: Operation, digest: Digest): PackageError | undefined {
    const { registry, repository } = upstream;
    if (repository === undefined) return wholeRegistry();
    const { client, home } = this.#connect(registry);
    const url = apiUrl(registry, `${repository}/${operation}s/${digest}`, home);
    return client.throttling({ asked: askedOf(upstream, operation), url });
  }

  async fetchTagged(upstream: Upstream, tag: Tag, signal: AbortSignal): Promise<Uint8Array> {
    const asked = askedOf(upstream, 'manifest');
    const response = await this.#get(upstream, asked, `manifests/${tag}`, { headers: { accept: ACCEPT } }, signal);
    if (response.status !== 200) throw await refusal(response);
    const named = response.headers['docker-content-digest'];
    const digest = typeof named === 'string' && isDigest(named) ? named : undefined;
    try {
      const bytes = await readManifest(digest, response, this.#options.idleTimeoutMs);
      const found = digestOf(bytes);
      if (digest !== undefined) this.#options.senders?.sent(digest, response.asked);
      if (digest !== undefined && found !== digest) throw new DigestMismatchError(digest, found);
      return bytes;
    } catch (error) {
      throw failure(response.asked, error, signal);
    }
  }

  listTags(upstream: Upstream, signal: AbortSignal): Promise<string[]> {
    const asked = askedOf(upstream, 'tags');
    return readTags(
      async (page) => {
        const response = await this.#get(upstream, asked, `tags/list${page}`, { headers: JSON_ONLY }, signal);
        if (response.status !== 200) throw await refusal(response);
        return response;
      },
      this.#options.idleTimeoutMs,
      signal,
    );
  }

  listReferrers(upstream: Upstream, subject: Digest, signal: AbortSignal): Promise<Referrer[]> {
    const asked = askedOf(upstream, 'manifest');
    return readReferrers(subject, {
      list: (query) =>
        this.#get(upstream, asked, `referrers/${subject}${query}`, { headers: { accept: OCI_INDEX } }, signal),
      fetchTagged: (tag) => this.fetchTagged(upstream, tag, signal),
      timeoutMs: this.#options.idleTimeoutMs,
      signal,
    });
  }

  /** The answer to a GET, after redirects and challenges. */
  async #get(
    { registry, repository }: Upstream,
    asked: Asked,
    what: string,
    request: Pick<HttpRequest, 'headers' | 'patienceMs' | 'isHead' | 'isBulk'>,
    signal: AbortSignal,
  ): Promise<HttpResponse> {
    if (repository === undefined) throw wholeRegistry();
    const { client, home, authorizations } = this.#connect(registry);
    const url = apiUrl(registry, `${repository}/${what}`, home);
    const authorize = authorizations.for(repository);
    const isBulk = asked.operation === 'blob';
    const otherwise = registry.dialled?.otherwise;
    const sent = { isBulk, ...request, asked, url, authorize };
    if (otherwise === undefined) return client.send(sent, signal);
    return client.send({ ...sent, isRefusalFinal: true }, signal).catch((error: unknown) => {
      if (!(error instanceof ConnectionRefusedError)) throw error;
      return this.#get({ registry: otherwise, repository }, asked, what, request, signal);
    });
  }

  #connect(registry: Registry): Connection {
    let connection = this.#connections.get(registry);
    if (connection === undefined) {
      const home = new URL(`${registry.scheme}://${dialledHost(registry)}`);
      const { trustedRealms, idleTimeoutMs, now = () => performance.now() } = this.#options;
      const client = new HttpClient(registry, { ...this.#options, pools: this.#pools });
      const options = { registry, client, trustedRealms, idleTimeoutMs, now };
      connection = { client, home, authorizations: new HostAuthorizations(home, options) };
      this.#connections.set(registry, connection);
    }
    return connection;
  }
}

function apiUrl({ api }: Registry, what: string, home: URL): URL {
  const url = new URL(`${api?.root ?? 'v2'}/${what}`, home);
  if (api?.namespace === undefined) return url;
  const namespace = `ns=${encodeURIComponent(api.namespace)}`;
  url.search = url.search === '' ? namespace : `${url.search}&${namespace}`;
  return url;
}

function wholeRegistry(): InvalidArgumentError {
  return new InvalidArgumentError('NAME_INVALID', 'this repository is a whole registry: "path" is needed');
}

function askedOf({ registry }: Upstream, operation: Asked['operation']): Asked {
  return { operation, host: registry.host };
}
