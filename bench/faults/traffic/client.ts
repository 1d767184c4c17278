/** A client of the service that compares the answer with the expected bytes. */
import { type IncomingMessage, request } from 'node:http';
import type { TestImage } from '../../../test/support/image.ts';
import { findCanary } from '../../../test/support/service-process.ts';

export interface GetOptions {
  readonly method?: 'GET' | 'HEAD';
  /** The first byte of the package, and the one after the last. */
  readonly range?: readonly [start: number, end: number];
  /** A target with its query, instead of `/package`. */
  readonly target?: string;
  /** The local address that the client connects from. */
  readonly from?: string;
  /** Query parameters in addition to `digest`; may replace `digest`. */
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  /** The client leaves after this many bytes of the body. */
  readonly leaveAfter?: number;
  /** The highest speed at which the client reads. */
  readonly bytesPerSecond?: number;
  /** The client reads nothing before this settles. */
  readonly readAfter?: Promise<unknown>;
  readonly onBytes?: (bytes: number) => void;
  readonly signal?: AbortSignal;
  /** The time limit for the whole answer. */
  readonly budgetMs?: number;
}

/**
 * - `whole`: all requested bytes, and they are right
 * - `refused`: a status of 400 or more
 * - `cut`: the connection broke before the end of the body
 * - `unreachable`: no answer at all
 * - `left`: the client closed the connection
 * - `late`: the answer had not ended at the time limit
 * - `wrong`: the answer ended normally but has wrong content
 */
export type Verdict = 'whole' | 'refused' | 'cut' | 'unreachable' | 'left' | 'late' | 'wrong';

export interface Got {
  readonly verdict: Verdict;
  /** Further details of the verdict. */
  readonly why: string;
  /** 0 if there was no answer. */
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  /** The bytes of the body. */
  readonly bytes: number;
  /** The time of the first byte of the body on the monotonic clock, in milliseconds; undefined without a body. */
  readonly firstByteAt: number | undefined;
  readonly ms: number;
  /** A secret that the answer contains by mistake. */
  readonly canary: string | undefined;
}

const BUDGET_MS = 60_000;
const MAX_ERROR_BYTES = 4096;

/** Never rejects. */
export async function get(port: number, image: TestImage, options: GetOptions = {}): Promise<Got> {
  const { method = 'GET', query = {}, range, signal, budgetMs = BUDGET_MS } = options;
  const started = performance.now();
  const search = new URLSearchParams({ digest: image.digest, ...query }).toString();
  const rangeHeader = range && { range: `bytes=${String(range[0])}-${String(range[1] - 1)}` };
  const exchange = request({
    host: '127.0.0.1',
    port,
    method,
    path: options.target ?? `/package?${search}`,
    ...(options.from !== undefined && { localAddress: options.from }),
    headers: { ...rangeHeader, ...options.headers },
    agent: false,
  });
  const body = new JudgedBody(image.layer.bytes, options);
  let isLate = false;
  const patience = setTimeout(() => {
    isLate = true;
    exchange.destroy();
  }, budgetMs);
  const leave = (): void => {
    body.left = true;
    exchange.destroy();
  };
  if (signal?.aborted === true) leave();
  signal?.addEventListener('abort', leave);
  const why = await new Promise<string>((resolve) => {
    exchange.once('error', (error) => {
      resolve(error.message);
    });
    exchange.once('response', (response) => {
      resolve(body.read(response, leave));
    });
    exchange.end();
  });
  clearTimeout(patience);
  signal?.removeEventListener('abort', leave);
  return { ...body.result(method, isLate, why), ms: performance.now() - started };
}

class JudgedBody {
  readonly #whole: Uint8Array;
  readonly #options: GetOptions;
  #response: IncomingMessage | undefined;
  #bytes = 0;
  #firstByteAt: number | undefined;
  #errorText = '';
  #mistake: string | undefined;
  left = false;

  constructor(whole: Uint8Array, options: GetOptions) {
    this.#whole = whole;
    this.#options = options;
  }

  /** Resolves with the verdict when the answer has ended. */
  async read(response: IncomingMessage, leave: () => void): Promise<string> {
    this.#response = response;
    const { readAfter, bytesPerSecond, leaveAfter = Infinity, onBytes } = this.#options;
    if (readAfter !== undefined) {
      response.pause();
      await readAfter;
    }
    const expected = this.#expected;
    response.on('data', (chunk: Buffer) => {
      this.#firstByteAt ??= performance.now();
      this.#take(chunk, expected);
      onBytes?.(this.#bytes);
      if (this.#bytes >= leaveAfter) leave();
      else if (bytesPerSecond !== undefined) pauseFor(response, (1000 * chunk.byteLength) / bytesPerSecond);
    });
    return new Promise((resolve) => {
      response.once('end', () => {
        resolve(response.complete ? 'ended' : 'ended early');
      });
      response.once('error', (error) => {
        resolve(error.message);
      });
      response.once('close', () => {
        resolve('closed');
      });
      response.resume();
    });
  }

  result(method: string, isLate: boolean, why: string): Omit<Got, 'ms'> {
    const { statusCode: status = 0, headers = {}, complete = false } = this.#response ?? {};
    const canary = findCanary(`${JSON.stringify(headers)}\n${this.#errorText}`);
    const gist = status >= 400 ? this.#errorText.trim() : (this.#mistake ?? why);
    const verdict = this.#verdict({ method, isLate, status, complete });
    return { verdict, why: gist, status, headers, bytes: this.#bytes, firstByteAt: this.#firstByteAt, canary };
  }

  #verdict(end: { method: string; isLate: boolean; status: number; complete: boolean }): Verdict {
    if (end.isLate) return 'late';
    if (end.status >= 400) return 'refused';
    if (this.left) return 'left';
    if (end.status === 0) return 'unreachable';
    // A client does not mistake a broken response for a complete one, even after many right bytes.
    if (!end.complete) return 'cut';
    if (this.#mistake !== undefined) return 'wrong';
    const missing = end.method === 'HEAD' ? 0 : this.#expected.byteLength - this.#bytes;
    if (missing === 0 && this.#isDescribed(end.method)) return 'whole';
    this.#mistake = missing > 0 ? `a normal end, ${String(missing)} bytes short` : 'wrong headers';
    return 'wrong';
  }

  #isDescribed(method: string): boolean {
    const { statusCode, headers } = this.#response ?? {};
    if (statusCode !== 200 && statusCode !== 206) return false;
    const length = method === 'HEAD' ? this.#whole.byteLength : this.#expected.byteLength;
    return headers?.['content-length'] === String(length);
  }

  /** A 200 carries the whole package, also if the request has a range. */
  get #expected(): Uint8Array {
    const { range } = this.#options;
    if (this.#response?.statusCode !== 206 || range === undefined) return this.#whole;
    return this.#whole.subarray(range[0], range[1]);
  }

  #take(chunk: Buffer, expected: Uint8Array): void {
    if ((this.#response?.statusCode ?? 0) >= 400) {
      this.#errorText = (this.#errorText + chunk.toString()).slice(0, MAX_ERROR_BYTES);
      return;
    }
    const same = expected.subarray(this.#bytes, this.#bytes + chunk.byteLength);
    if (Buffer.compare(chunk, same) !== 0) this.#mistake ??= `wrong bytes after byte ${String(this.#bytes)}`;
    this.#bytes += chunk.byteLength;
  }
}

function pauseFor(response: IncomingMessage, ms: number): void {
  response.pause();
  setTimeout(() => response.resume(), ms);
}
