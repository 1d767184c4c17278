/** A download that goes on where it broke off. It fetches no byte twice, and the running hash goes on over the seam. */
import type { Descriptor } from '../domain/descriptor.ts';
import { isOneOf } from '../domain/errors.ts';
import type { RegistryGateway } from '../domain/ports/registry-gateway.ts';
import type { Upstream } from '../domain/upstream.ts';

/** Opens a blob's bytes from `offset` on, each chunk valid until the next. */
export type FetchFrom = (offset: number) => Promise<AsyncIterable<Uint8Array>>;

/** A try makes progress that brings this much, or that brings bytes for so long until it breaks off. A stall is none. */
const MIN_PROGRESS_BYTES = 1024 * 1024;
const MIN_PROGRESS_MS = 5000;
const MAX_TRIES_WITHOUT_PROGRESS = 4;
/** An upstream that always breaks off after so little has a fault that an operator must see. */
const MAX_TRIES = 100;
/** An upstream that has not answered again for so long is given up: the default of `registry.timeouts.idleSeconds`. */
const MAX_ABSENCE_MS = 30_000;

/**
 * `fetch` begins anew each time, so that no expired URL or token is used again, and retries on its own. Rejects as
 * `fetch` does when there is no first byte. Later the iteration throws the error of `fetch` or of its bytes when going on
 * makes no sense. A clean end is an end, also before `size` bytes: the verification decides.
 */
export async function resumedDownload(size: number, fetch: FetchFrom): Promise<AsyncIterable<Uint8Array>> {
  return follow(size, await fetch(0), fetch);
}

async function* follow(size: number, first: AsyncIterable<Uint8Array>, fetch: FetchFrom): AsyncGenerator<Uint8Array> {
  let received = 0;
  let withoutProgress = 0;
  let brokenMs = 0;
  for (let tries = 1, chunks: AsyncIterable<Uint8Array> | undefined = first; ; tries++) {
    const startedAt = received;
    let startedMs = performance.now();
    try {
      chunks ??= await fetch(received);
      startedMs = performance.now();
      for await (const chunk of chunks) {
        received += chunk.byteLength;
        yield chunk;
      }
      return;
    } catch (error) {
      // Only an empty chunk or the end of the connection can break off behind the last byte.
      if (received >= size) return;
      const now = performance.now();
      const brought = received - startedAt;
      const lasted = brought > 0 && !isOneOf(error, 'UPSTREAM_TIMEOUT') && now - startedMs >= MIN_PROGRESS_MS;
      withoutProgress = lasted || brought >= MIN_PROGRESS_BYTES ? 0 : withoutProgress + 1;
      const isSpent = withoutProgress >= MAX_TRIES_WITHOUT_PROGRESS || tries >= MAX_TRIES;
      const isAbsent = chunks === undefined && now - brokenMs >= MAX_ABSENCE_MS;
      if (!isPassing(error) || isSpent || isAbsent) throw error;
      if (chunks !== undefined) brokenMs = now;
      chunks = undefined;
    }
  }
}

function isPassing(error: unknown): boolean {
  return isOneOf(error, 'UPSTREAM_UNAVAILABLE', 'UPSTREAM_TIMEOUT');
}

/**
 * The bytes of a blob: out of its descriptor when they are in it, else out of the upstream, which is looked up each time,
 * since it may change. Rejects as `resolve` and `RegistryGateway.fetchBlob` do.
 */
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
