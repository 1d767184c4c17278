/** RegistryGateway that remembers missing content for seconds, so that many requests for it cause one request to the registry. */
import { BoundedMap } from '../../domain/bounded-map.ts';
import type { Descriptor, Digest } from '../../domain/descriptor.ts';
import { type PackageError, PackageUnknownError } from '../../domain/errors.ts';
import type { Operation, RegistryGateway } from '../../domain/ports/registry-gateway.ts';
import type { Registry, Upstream } from '../../domain/upstream.ts';

/** A package that is published after a node has requested it is found at most this much later. */
const REMEMBERED_MS = 5000;
/** About 500 KB. Clients choose the digests, so their number needs a limit. */
const MAX_ABSENCES = 1000;

interface Absence {
  readonly error: PackageUnknownError;
  readonly until: number;
}

export class NegativeCache implements RegistryGateway {
  readonly #gateway: RegistryGateway;
  readonly #now: () => number;
  /** The ids of registries. A changed credential makes a new registry object, for which nothing is remembered. */
  readonly #ids = new WeakMap<Registry, number>();
  #lastId = 0;
  /** Keyed by registry, repository, kind and digest; the oldest first. */
  readonly #absences = new BoundedMap<string, Absence>(MAX_ABSENCES);

  /** `now` gives milliseconds on a clock that never jumps. */
  constructor(gateway: RegistryGateway, now = () => performance.now()) {
    this.#gateway = gateway;
    this.#now = now;
  }

  fetchManifest(upstream: Upstream, digest: Digest, signal: AbortSignal): Promise<Uint8Array> {
    const fetch = (): Promise<Uint8Array> => this.#gateway.fetchManifest(upstream, digest, signal);
    return this.#unlessAbsent(this.#keyOf(upstream, 'manifest', digest), fetch);
  }

  fetchBlob(
    upstream: Upstream,
    blob: Descriptor,
    offset: number,
    signal: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array>> {
    const fetch = (): Promise<AsyncIterable<Uint8Array>> => this.#gateway.fetchBlob(upstream, blob, offset, signal);
    return this.#unlessAbsent(this.#keyOf(upstream, 'blob', blob.digest), fetch);
  }

  knownRefusal(upstream: Upstream, operation: Operation, digest: Digest): PackageError | undefined {
    return (
      this.#absence(this.#keyOf(upstream, operation, digest)) ?? this.#gateway.knownRefusal(upstream, operation, digest)
    );
  }

  async #unlessAbsent<Found>(key: string, fetch: () => Promise<Found>): Promise<Found> {
    const absence = this.#absence(key);
    if (absence !== undefined) throw absence;
    try {
      return await fetch();
    } catch (error) {
      if (error instanceof PackageUnknownError) {
        this.#absences.set(key, { error, until: this.#now() + REMEMBERED_MS });
      }
      throw error;
    }
  }

  #keyOf({ registry, repository }: Upstream, operation: Operation, digest: Digest): string {
    return `${String(this.#idOf(registry))} ${repository ?? ''} ${operation} ${digest}`;
  }

  #absence(key: string): PackageUnknownError | undefined {
    const absence = this.#absences.get(key);
    return absence !== undefined && absence.until > this.#now() ? remembered(absence.error) : undefined;
  }

  #idOf(registry: Registry): number {
    const known = this.#ids.get(registry);
    if (known !== undefined) return known;
    this.#ids.set(registry, ++this.#lastId);
    return this.#lastId;
  }
}

/** The error of a remembered answer, with that answer as its cause for the log. */
function remembered({ code, cause }: PackageUnknownError): PackageUnknownError {
  return new PackageUnknownError(code, {
    cause: new Error('remembered answer, the registry was not asked again', { cause }),
  });
}
