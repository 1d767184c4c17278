/** The bytes of a blob: out of its descriptor when they are in it, else out of the upstream. */
import type { Descriptor } from '../domain/descriptor.ts';
import type { RegistryGateway } from '../domain/ports/registry-gateway.ts';
import type { Upstream } from '../domain/upstream.ts';

/** Rejects as `resolve` and `RegistryGateway.fetchBlob` do. The upstream is looked up each time, since it may change. */
export async function openBlob(
  gateway: Pick<RegistryGateway, 'fetchBlob'>,
  resolve: () => Promise<Upstream>,
  blob: Descriptor,
  offset: number,
  signal: AbortSignal,
): Promise<AsyncIterable<Uint8Array>> {
  if (blob.data !== undefined) return once(blob.data.subarray(offset));
  return gateway.fetchBlob(await resolve(), blob, offset, signal);
}

/** Bytes that are here already, as a source of bytes. */
// eslint-disable-next-line @typescript-eslint/require-await -- an iteration that has nothing to wait for
export async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
