/** A download that continues where it broke off. It fetches no byte twice, and the running hash continues. */
import type { Descriptor } from '../domain/descriptor.ts';
import { isOneOf } from '../domain/errors.ts';
import type { RegistryGateway } from '../domain/ports/registry-gateway.ts';
import type { Upstream } from '../domain/upstream.ts';

/** Opens the bytes of a blob from `offset` on; each chunk is valid until the next one. */
export type FetchFrom = (offset: number) => Promise<AsyncIterable<Uint8Array>>;

/** An attempt makes progress if it brings this many bytes, or brings bytes for the time below. A stall is not progress. */
const MIN_PROGRESS_BYTES = 1024 * 1024;
const MIN_PROGRESS_MS = 5000;
const MAX_TRIES_WITHOUT_PROGRESS = 4;
/** The limit of attempts: an upstream that breaks off so often has a fault that an operator must see. */
const MAX_TRIES = 100;
/** The download gives up after this time without an answer: the default of `registry.timeouts.idleSeconds`. */
const MAX_ABSENCE_MS = 30_000;

/**
 * `fetch` starts again each time, so that no expired URL or token is used, and has its own retries. Rejects as `fetch` does if
 * there is no first byte. Later the iteration throws the error of `fetch` or of its bytes if another attempt makes no sense. A
 * normal end before `size` bytes is returned as an end, and the verification refuses the blob.
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
      // After the last byte an error does not matter.
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
 * Opens the bytes of a blob: from its descriptor if they are in it, else from the upstream, which is resolved each time because
 * it may change. Rejects as `resolve` and `RegistryGateway.fetchBlob` do.
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

/** Yields available bytes as a source. */
// eslint-disable-next-line @typescript-eslint/require-await -- an async iteration over available bytes has nothing to await
export async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
