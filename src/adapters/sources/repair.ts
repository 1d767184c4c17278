/** The content by which a source that gave other bytes can be repaired: that of the places that are asked instead of it. */
import { once } from '../../application/resumed-download.ts';
import type { Descriptor, Digest } from '../../domain/descriptor.ts';
import type { RegistryGateway } from '../../domain/ports/registry-gateway.ts';
import type { Upstream } from '../../domain/upstream.ts';

/** Content of a digest, not yet verified. To be fetched when the source that is repaired is asked for that digest no more. */
export interface Repair {
  /** Undefined for a manifest, which says it when it is here. */
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
