/** Bodies of upstreams: never longer than they may be, never waited for without end, never left open. */

/** The bytes of a response as they come; ended by `destroy`. */
export interface Body extends AsyncIterable<Uint8Array> {
  destroy(): unknown;
}

/** What we waited for has not come in time. */
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

/** The chunks as they come, each valid until the next, without the first `skip` bytes; leaving the iteration ends the response. */
export async function* readChunks(body: Body, skip: number, idleTimeoutMs: number): AsyncGenerator<Uint8Array> {
  // Only while we wait for the upstream: a consumer may take its time.
  let waiting = true;
  const patience = new AbortController();
  const watchdog = setTimeout(() => {
    if (waiting) {
      patience.abort();
      body.destroy();
    } else watchdog.refresh();
  }, idleTimeoutMs);
  let skipped = 0;
  try {
    for await (const chunk of body) {
      waiting = false;
      const excess = Math.min(skip - skipped, chunk.byteLength);
      skipped += excess;
      if (excess < chunk.byteLength) yield chunk.subarray(excess);
      waiting = true;
      watchdog.refresh();
    }
  } catch (error) {
    throw patience.signal.aborted ? new IdleError() : error;
  } finally {
    clearTimeout(watchdog);
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
