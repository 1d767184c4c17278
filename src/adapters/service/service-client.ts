/** PackageCache of a service in another process; requests for packages fill it, as those of nodes do. */
import { Agent as HttpAgent, type IncomingMessage, request as requestHttp } from 'node:http';
import { Agent as HttpsAgent, request as requestHttps } from 'node:https';
import { type Digest, digestOf, parseDigest } from '../../domain/descriptor.ts';
import { DigestMismatchError, PackageError, UpstreamThrottledError } from '../../domain/errors.ts';
import { type Index, type Manifest, MAX_MANIFEST_BYTES, parseManifest } from '../../domain/manifest.ts';
import type { PackageRequest } from '../../domain/reference.ts';
import { Verifier } from '../../domain/verifier.ts';
import type { Secret } from '../../domain/credential.ts';
import type { PackageCache } from '../../domain/ports/package-cache.ts';

interface ServiceClientOptions {
  /** `http://host:port` or `https://host:port`. */
  readonly origin: URL;
  /** The token for the sidecar. */
  readonly token: Secret | undefined;
  /** PEM certificates that are trusted instead of the default roots. */
  readonly ca: string | undefined;
  /** The time limit for each next byte of an answer, including the first one, because the service waits for registries. */
  readonly idleTimeoutMs: number;
}

/** An error response of the service, or a broken response. */
export class ServiceError extends Error {
  override readonly name = 'ServiceError';
}

/** The part of an error that nodes print. */
const MAX_REASON_BYTES = 255;
/** The largest depth of nested indexes. */
const MAX_INDEX_DEPTH = 4;
/** The longest wait that the service itself would ask for. */
const MAX_WAIT_SECONDS = 60;
/** The limit of the service for registries: a sidecar or a proxy may add headers. */
const MAX_HEADER_BYTES = 64 * 1024;

/** Leaves time for other addresses if one does not answer; Node gives 250 ms to each but the last. */
const AGENT_OPTIONS = { keepAlive: true, autoSelectFamilyAttemptTimeout: 2500 };

export class ServiceClient implements PackageCache {
  readonly #options: ServiceClientOptions;
  readonly #agent: HttpAgent;

  constructor(options: ServiceClientOptions) {
    this.#options = options;
    const { origin, ca } = options;
    this.#agent =
      origin.protocol === 'https:'
        ? new HttpsAgent({ ...AGENT_OPTIONS, ...(ca !== undefined && { ca, allowPartialTrustChain: true }) })
        : new HttpAgent(AGENT_OPTIONS);
  }

  close(): void {
    this.#agent.destroy();
  }

  async fetch(request: PackageRequest, onBytes: (bytes: number) => void, signal: AbortSignal): Promise<boolean> {
    const response = await this.#send('GET', '/package', request, signal);
    if (response.statusCode !== 200) throw await refusal(response);
    const described = describedBy(response);
    const verifier = new Verifier(described);
    try {
      for await (const chunk of response as AsyncIterable<Uint8Array>) {
        verifier.update(chunk);
        onBytes(chunk.byteLength);
      }
    } catch (error) {
      throw broken(error, signal);
    }
    verifier.verify();
    await this.#verify(request, described.digest, signal);
    const status = cacheStatus(response);
    if (status.startsWith('fwd=bypass')) throw new ServiceError(`the service did not cache it (${status})`);
    return status === 'hit';
  }

  /**
   * Resolves with true if the sidecar refuses HEAD: the service has reported the package as cached, and there is no other
   * test.
   */
  async has(request: PackageRequest, signal: AbortSignal): Promise<boolean> {
    const response = await this.#send('HEAD', '/package', request, signal);
    response.resume();
    if (response.statusCode === 401 || response.statusCode === 403) return true;
    if (response.statusCode !== 200) throw await refusal(response);
    return cacheStatus(response) === 'hit';
  }

  /**
   * Rejects unless the requested manifest names this layer as its package, which the service cannot forge. Any image of an
   * index is accepted, because only the service knows for which platform it resolves an index.
   */
  async #verify(request: PackageRequest, layer: Digest, signal: AbortSignal): Promise<void> {
    const document = await this.#fetchManifest(request, signal);
    if (document === undefined) throw new ServiceError('the service has no /manifest: it may be an older version');
    if (await this.#leadsTo(document, layer, 0, request, signal)) return;
    throw new ServiceError('the service sent another package than the one that the manifest names');
  }

  async #leadsTo(
    document: Manifest | Index,
    layer: Digest,
    depth: number,
    request: PackageRequest,
    signal: AbortSignal,
  ): Promise<boolean> {
    if (document.kind === 'manifest') return document.layers.at(-1)?.digest === layer;
    if (depth === MAX_INDEX_DEPTH) return false;
    for (const { digest, role } of document.manifests) {
      if (role === 'attestation') continue;
      // A registry may lack the images of some platforms.
      const found = await this.#fetchManifest({ ...request, digest }, signal);
      if (found !== undefined && (await this.#leadsTo(found, layer, depth + 1, request, signal))) return true;
    }
    return false;
  }

  /** Resolves with a verified manifest; undefined after a 404, because the manifest or the route is unknown. */
  async #fetchManifest(request: PackageRequest, signal: AbortSignal): Promise<Manifest | Index | undefined> {
    const response = await this.#send('GET', '/manifest', request, signal);
    if (response.statusCode === 404) {
      response.resume();
      return undefined;
    }
    if (response.statusCode !== 200) throw await refusal(response);
    const chunks: Uint8Array[] = [];
    let size = 0;
    try {
      for await (const chunk of response as AsyncIterable<Uint8Array>) {
        chunks.push(chunk);
        size += chunk.byteLength;
        if (size > MAX_MANIFEST_BYTES) throw new ServiceError('the service sent a manifest of more than 4 MiB');
      }
    } catch (error) {
      throw broken(error, signal);
    }
    const bytes = Buffer.concat(chunks);
    const found = digestOf(bytes);
    if (found !== request.digest) throw new DigestMismatchError(request.digest, found);
    return parseManifest(bytes);
  }

  async #send(
    method: 'GET' | 'HEAD',
    path: '/package' | '/manifest',
    request: PackageRequest,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    const { origin, token, idleTimeoutMs } = this.#options;
    const url = new URL(path, origin);
    url.searchParams.set('digest', request.digest);
    if (request.repository !== '') url.searchParams.set('repository', request.repository);
    if (request.path !== undefined) url.searchParams.set('path', request.path);
    const send = url.protocol === 'https:' ? requestHttps : requestHttp;
    const headers = token === undefined ? {} : { authorization: `Bearer ${token.reveal()}` };
    const asked = send(url, { method, headers, agent: this.#agent, signal, maxHeaderSize: MAX_HEADER_BYTES });
    let answer: IncomingMessage | undefined;
    asked.setTimeout(idleTimeoutMs, () => {
      (answer ?? asked).destroy(new ServiceError(`no bytes came for ${String(idleTimeoutMs / 1000)} s`));
    });
    try {
      return await new Promise<IncomingMessage>((resolve, reject) => {
        asked.once('response', (response) => {
          answer = response;
          resolve(response);
        });
        // The listener stays, because the reader of the response reports later errors.
        asked.on('error', reject);
        asked.end();
      });
    } catch (error) {
      throw broken(error, signal);
    }
  }
}

/** Returns the digest and the size of the body. @throws ServiceError */
function describedBy({ headers }: IncomingMessage): { digest: Digest; size: number } {
  const base64 = /(?:^|,)\s*sha-256=:([A-Za-z0-9+/]{43}=):/.exec(String(headers['repr-digest']))?.[1];
  const size = Number(headers['content-length']);
  if (base64 === undefined || !Number.isSafeInteger(size)) {
    throw new ServiceError(
      'the answer has no digest and no size: the URL may not be that of a registry-packages-proxy',
    );
  }
  return { digest: parseDigest(`sha256:${Buffer.from(base64, 'base64').toString('hex')}`), size };
}

/** Returns `hit`, `fwd=miss`, … of RFC 9211, without the name of the cache. */
function cacheStatus({ headers }: IncomingMessage): string {
  return String(headers['cache-status']).replace(/^[^;]*;\s*/, '');
}

async function refusal(response: IncomingMessage): Promise<Error> {
  const { statusCode = 0, headers } = response;
  let reason = '';
  try {
    for await (const chunk of response.setEncoding('utf8') as AsyncIterable<string>) {
      reason += chunk;
      if (reason.length > MAX_REASON_BYTES) break;
    }
  } catch {
    // The status is enough.
  }
  const printable = reason
    .slice(0, MAX_REASON_BYTES)
    .replace(/[^\x20-\x7e]+/g, ' ')
    .trim();
  const error = new ServiceError(`${String(statusCode)} ${printable}`.trim());
  const seconds = Number(headers['retry-after']);
  if ((statusCode !== 503 && statusCode !== 429) || !Number.isSafeInteger(seconds)) return error;
  return new UpstreamThrottledError(Math.min(MAX_WAIT_SECONDS, Math.max(0, seconds)), { cause: error });
}

/** Returns an error without the other content of Node's errors. */
function broken(error: unknown, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  if (error instanceof PackageError || !(error instanceof Error && 'code' in error)) return error;
  return new ServiceError(`connection to the service failed: ${String(error.code)}`);
}
