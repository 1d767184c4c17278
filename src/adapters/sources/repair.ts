/** Content for the repair of a source that sent wrong bytes: it comes from the other places. */
import { once } from '../../application/resumed-download.ts';
import type { Descriptor, Digest } from '../../domain/descriptor.ts';
import type { RegistryGateway } from '../../domain/ports/registry-gateway.ts';
import type { Upstream } from '../../domain/upstream.ts';

/** Unverified content of a digest. It may be fetched only after the source is no longer asked for that digest. */
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
