/** A place that may have the content of registries nearer, such as a mirror; it is asked before the registry itself. */
import { once } from '../../application/resumed-download.ts';
import type { Descriptor, Digest } from '../../domain/descriptor.ts';
import type { RegistryGateway, SourceKind } from '../../domain/ports/registry-gateway.ts';
import type { Upstream } from '../../domain/upstream.ts';

export interface Source {
  readonly kind: SourceKind;
  /** The host, for the log and for operators; it contains no secret. */
  readonly name: string;
  readonly gateway: RegistryGateway;
  /** False if the registry must not be asked for upstreams of this source. */
  readonly fallback: boolean;
  /** Returns the location of an upstream's content in this source; undefined if it does not cover the upstream. */
  locate(upstream: Upstream): Upstream | undefined;
  /** Called with a digest for which this source sent wrong bytes, and the content for its repair. */
  onDistrusted?(digest: Digest, repair: Repair): void;
}

/** A digest to fetch. */
export interface Wanted {
  readonly digest: Digest;
  readonly repair: Repair;
}

/** Another place is asked instead of a source. */
export interface SourceSwitch {
  readonly source: Pick<Source, 'kind' | 'name'>;
  readonly reason: 'absent' | 'failed' | 'late' | 'slow' | 'distrusted' | 'resting';
  readonly digest: Digest;
  /** Undefined if the source sent no error. */
  readonly error: unknown;
}

export type SourceObserver = (event: SourceSwitch) => void;

export interface SourceLimits {
  /** The milliseconds without an answer after which the next source is asked, too. */
  readonly patienceMs: number;
  /** Bytes per second; if a second brings fewer, the rest of a blob comes from another place. */
  readonly minimumRate: number;
  /** The milliseconds for which a source is asked last after it failed or was slow. */
  readonly restMs: number;
}

/**
 * Unverified content for the repair of a source that sent wrong bytes. It comes from the other places, so it may be fetched only
 * after the source is no longer asked for that digest.
 */
export interface Repair {
  /** Undefined for a manifest, whose size is known after the fetch. */
  readonly size: number | undefined;
  fetch(signal: AbortSignal): Promise<{ readonly size: number; readonly open: () => AsyncIterable<Uint8Array> }>;
}

export function manifestRepair(gateway: RegistryGateway, upstream: Upstream, digest: Digest): Repair {
  return {
    size: undefined,
    fetch: async (signal) => {
      const bytes = await gateway.fetchManifest(upstream, digest, signal);
      return { size: bytes.byteLength, open: () => once(bytes) };
    },
  };
}

export function blobRepair(gateway: RegistryGateway, upstream: Upstream, blob: Descriptor): Repair {
  const { size } = blob;
  return {
    size,
    fetch: (signal) =>
      Promise.resolve({
        size,
        open: async function* () {
          yield* await gateway.fetchBlob(upstream, blob, 0, signal);
        },
      }),
  };
}
