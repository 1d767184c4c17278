/** A download that goes on where it broke off. What went by before is not fetched again, and the proof runs on over it. */
import { isOneOf } from '../domain/errors.ts';
import type { FetchFrom } from '../domain/ports/image-layout.ts';

/**
 * A try that brought this much, or went on bringing for so long until it broke off, was worth another; so few that were not
 * end it all. One that dried up has brought what it did for too long.
 */
const FRUITFUL_BYTES = 1024 * 1024;
const FRUITFUL_MS = 5000;
const MAX_BARREN_TRIES = 4;
/** Whatever they brought: an upstream that never gets further than this is one to complain about. */
const MAX_TRIES = 100;

/**
 * `fetch` begins anew each time, so that no expired URL or token is used again, and with what patience it has. Rejects as it
 * does when there is no first byte. Later the iteration throws what `fetch` or its bytes threw when going on makes no sense
 * any more. A clean end is an end, also before `size` bytes: the proof has the last word.
 * `onReceived` hears how many bytes there are by now.
 */
export async function resumedDownload(
  size: number,
  fetch: FetchFrom,
  onReceived: (bytes: number) => void = () => undefined,
): Promise<AsyncIterable<Uint8Array>> {
  return follow(size, await fetch(0), fetch, onReceived);
}

async function* follow(
  size: number,
  first: AsyncIterable<Uint8Array>,
  fetch: FetchFrom,
  onReceived: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  let received = 0;
  let barren = 0;
  for (let tries = 1, chunks: AsyncIterable<Uint8Array> | undefined = first; ; tries++) {
    const startedAt = received;
    let startedMs = performance.now();
    try {
      chunks ??= await fetch(received);
      startedMs = performance.now();
      for await (const chunk of chunks) {
        received += chunk.byteLength;
        onReceived(received);
        yield chunk;
      }
      return;
    } catch (error) {
      // What broke off behind the last byte can only have been an empty chunk or a farewell.
      if (received >= size) return;
      const brought = received - startedAt;
      const driedUp = isOneOf(error, 'UPSTREAM_TIMEOUT');
      const lasted = brought > 0 && !driedUp && performance.now() - startedMs >= FRUITFUL_MS;
      barren = lasted || brought >= FRUITFUL_BYTES ? 0 : barren + 1;
      if (!isPassing(error) || barren >= MAX_BARREN_TRIES || tries >= MAX_TRIES) throw error;
      chunks = undefined;
    }
  }
}

function isPassing(error: unknown): boolean {
  return isOneOf(error, 'UPSTREAM_UNAVAILABLE', 'UPSTREAM_TIMEOUT');
}
