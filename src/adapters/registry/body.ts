/** Bodies of upstreams: never longer than they may be, never waited for without end, never left open. */

/** The bytes of a response as they come; ended by `destroy`. */
export interface Body extends AsyncIterable<Uint8Array> {
  destroy(): unknown;
}

/** No byte has come in time. */
export class IdleError extends Error {
  override readonly name = 'IdleError';
  readonly code = 'ERR_IDLE';
  constructor() {
    super('nothing has come in time');
  }
}

/** The connection has ended before the body. */
export class IncompleteError extends Error {
  override readonly name = 'IncompleteError';
  readonly code = 'ERR_BODY_INCOMPLETE';
  constructor() {
    super('body is incomplete');
  }
}

/** More has come than may. */
export class TooLongError extends Error {
  override readonly name = 'TooLongError';
  readonly code = 'ERR_BODY_TOO_LONG';
  constructor() {
    super('body is too long');
  }
}

/** The bytes that must come within one idle time-out, unless fewer are left: a byte now and then is no progress. */
const PROGRESS_BYTES = 64 * 1024;
/** A stall is noticed at most this much later than its time-out. */
const MAX_TICK_MS = 1000;
/** A new connection costs less than reading more than this, or waiting longer for it. */
const MAX_DISCARDED_BYTES = 4096;
const DISCARD_MS = 100;

/** The chunks as they come, each valid until the next, without the first `skip` bytes; leaving the iteration ends the response. */
export async function* readChunks(body: Body, skip: number, idleTimeoutMs: number): AsyncGenerator<Uint8Array> {
  const tickMs = Math.min(MAX_TICK_MS, idleTimeoutMs / 4);
  let waiting = true;
  let waitedMs = 0;
  let progress = 0;
  const patience = new AbortController();
  const watchdog = setInterval(() => {
    // Only while we wait for the upstream: a consumer may take its time.
    if (waiting) waitedMs += tickMs;
    if (waitedMs < idleTimeoutMs) return;
    patience.abort();
    body.destroy();
  }, tickMs);
  let skipped = 0;
  try {
    for await (const chunk of body) {
      waiting = false;
      progress += chunk.byteLength;
      if (progress >= PROGRESS_BYTES) progress = waitedMs = 0;
      const excess = Math.min(skip - skipped, chunk.byteLength);
      skipped += excess;
      if (excess < chunk.byteLength) yield chunk.subarray(excess);
      waiting = true;
    }
  } catch (error) {
    throw patience.signal.aborted ? new IdleError() : error;
  } finally {
    clearInterval(watchdog);
    body.destroy();
  }
}

/** All of a body that must not be longer than `maxBytes` and must be here in time. @throws IdleError, TooLongError */
export async function readAtMost(body: Body, maxBytes: number, timeoutMs: number): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  // Drop by drop a body is never idle, and 4 MiB of drops are years.
  const patience = new AbortController();
  const deadline = setTimeout(() => {
    patience.abort();
    body.destroy();
  }, timeoutMs);
  try {
    for await (const chunk of body) {
      length += chunk.byteLength;
      if (length > maxBytes) throw new TooLongError();
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  } catch (error) {
    throw patience.signal.aborted ? new IdleError() : error;
  } finally {
    clearTimeout(deadline);
    body.destroy();
  }
}

/** Reads the little that is left of a body in the background, so that its connection serves the next request; ends a long one. */
export function discard(body: Body): void {
  readAtMost(body, MAX_DISCARDED_BYTES, DISCARD_MS).catch(() => undefined);
}
