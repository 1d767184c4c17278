/** Times and counts what a RegistryGateway does, without its knowing. */
import { Counter, Histogram, type Registry } from 'prom-client';
import type { Descriptor } from '../../domain/descriptor.ts';
import type { Digest } from '../../domain/digest.ts';
import { PackageError } from '../../domain/errors.ts';
import type { Operation, RegistryGateway } from '../../domain/ports/registry-gateway.ts';
import type { Upstream } from '../../domain/upstream.ts';

const OPERATIONS: readonly Operation[] = ['manifest', 'blob'];

/** The codes of the alerts exist from the start, so that the first failure is an increase. */
const CODES = ['ok', 'upstream_denied', 'upstream_unavailable', 'upstream_timeout', 'toomanyrequests'];

export class MeteredRegistryGateway implements RegistryGateway {
  readonly #gateway: RegistryGateway;
  readonly #requests: Counter<'operation' | 'code'>;
  readonly #seconds: Histogram<'operation'>;
  readonly #bytes: Counter;
  readonly #resumed: Counter;

  constructor(gateway: RegistryGateway, registry: Registry) {
    this.#gateway = gateway;
    this.#requests = new Counter({
      name: 'registry_packages_proxy_upstream_requests_total',
      help: 'Manifests and blobs asked of an upstream, by outcome: "ok" when it began to answer, else an error code.',
      labelNames: ['operation', 'code'],
      registers: [registry],
    });
    this.#seconds = new Histogram({
      name: 'registry_packages_proxy_upstream_duration_seconds',
      help: 'Time until a manifest was there or a blob began to arrive, retries and authorization included.',
      labelNames: ['operation'],
      buckets: [0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30],
      registers: [registry],
    });
    this.#bytes = new Counter({
      name: 'registry_packages_proxy_upstream_bytes_total',
      help: 'Bytes of blobs received from upstreams.',
      registers: [registry],
    });
    this.#resumed = new Counter({
      name: 'registry_packages_proxy_upstream_resumed_total',
      help: 'Downloads that went on where they had broken off.',
      registers: [registry],
    });
    for (const operation of OPERATIONS) {
      for (const code of CODES) this.#requests.inc({ operation, code }, 0);
      this.#seconds.zero({ operation });
    }
  }

  knownRefusal(upstream: Upstream, operation: Operation, digest: Digest): PackageError | undefined {
    return this.#gateway.knownRefusal(upstream, operation, digest);
  }

  fetchManifest(upstream: Upstream, digest: Digest, signal: AbortSignal): Promise<Uint8Array> {
    return this.#measure('manifest', () => this.#gateway.fetchManifest(upstream, digest, signal));
  }

  async fetchBlob(
    upstream: Upstream,
    blob: Descriptor,
    offset: number,
    signal: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array>> {
    const chunks = await this.#measure('blob', () => this.#gateway.fetchBlob(upstream, blob, offset, signal));
    if (offset > 0) this.#resumed.inc();
    return this.#counted(chunks);
  }

  async #measure<Outcome>(operation: Operation, run: () => Promise<Outcome>): Promise<Outcome> {
    const stop = this.#seconds.startTimer({ operation });
    try {
      const outcome = await run();
      this.#requests.inc({ operation, code: 'ok' });
      return outcome;
    } catch (error) {
      this.#requests.inc({ operation, code: error instanceof PackageError ? error.code.toLowerCase() : 'internal' });
      throw error;
    } finally {
      stop();
    }
  }

  async *#counted(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks) {
      this.#bytes.inc(chunk.byteLength);
      yield chunk;
    }
  }
}
