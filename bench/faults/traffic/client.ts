/** A client of the service that knows what it must get, and judges what it got. */
import { type IncomingMessage, request } from 'node:http';
import type { TestImage } from '../../../test/support/image.ts';
import { findCanary } from '../../../test/support/service-process.ts';

export interface GetOptions {
  readonly method?: 'GET' | 'HEAD';
  /** First byte, and the one behind the last: of the package. */
  readonly range?: readonly [start: number, end: number];
  /** Another target than `/package`, with its query. */
  readonly target?: string;
  /** The local address that the client connects from. */
  readonly from?: string;
  /** Besides `digest`; another `digest` too. */
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  /** Leaves behind so many bytes of the body. */
  readonly leaveAfter?: number;
  /** Reads no faster. */
  readonly bytesPerSecond?: number;
  /** Reads nothing before this settles. */
  readonly readAfter?: Promise<unknown>;
  readonly onBytes?: (bytes: number) => void;
  readonly signal?: AbortSignal;
  /** The time until the end of the answer; the service promises nothing beyond it. */
  readonly budgetMs?: number;
}

/**
 * - `whole`: what was asked for, all of it
 * - `refused`: a status of 400 or more
 * - `cut`: less than announced, and the connection broke
 * - `unreachable`: no answer at all
 * - `left`: the client's own will
 * - `late`: not over when its budget was
 * - `wrong`: a normal end of something else
 */
export type Verdict = 'whole' | 'refused' | 'cut' | 'unreachable' | 'left' | 'late' | 'wrong';

export interface Got {
  readonly verdict: Verdict;
  /** In words, where the verdict does not say it all. */
  readonly why: string;
  /** 0 without an answer. */
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  /** The bytes of the body. */
  readonly bytes: number;
  /** On the monotonic clock, in milliseconds; undefined without a body. */
  readonly firstByteAt: number | undefined;
  readonly ms: number;
  /** A secret that it should never have been shown. */
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

  /** Resolves with how it ended. */
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
    // After any bytes: a client does not take them for the whole.
    if (!end.complete) return 'cut';
    if (this.#mistake !== undefined) return 'wrong';
    const missing = end.method === 'HEAD' ? 0 : this.#expected.byteLength - this.#bytes;
    if (missing === 0 && this.#isDescribed(end.method)) return 'whole';
    this.#mistake = missing > 0 ? `a normal end, ${String(missing)} bytes short` : 'a head that does not fit';
    return 'wrong';
  }

  #isDescribed(method: string): boolean {
    const { statusCode, headers } = this.#response ?? {};
    if (statusCode !== 200 && statusCode !== 206) return false;
    const length = method === 'HEAD' ? this.#whole.byteLength : this.#expected.byteLength;
    return headers?.['content-length'] === String(length);
  }

  /** An answer of 200 is the whole, with or without a range in the request. */
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
    if (Buffer.compare(chunk, same) !== 0) this.#mistake ??= `other bytes between ${String(this.#bytes)} and the next`;
    this.#bytes += chunk.byteLength;
  }
}

function pauseFor(response: IncomingMessage, ms: number): void {
  response.pause();
  setTimeout(() => response.resume(), ms);
}
