/** Sends HTTP as bytes on a socket, for requests that no client library sends. */
import { once } from 'node:events';
import type { Socket } from 'node:net';

export interface RawAnswer {
  readonly status: number;
  /** Lower-case names. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

export class RawConnection {
  readonly #socket: Socket;
  #received = '';
  #ended = false;
  #news: PromiseWithResolvers<void> = Promise.withResolvers();

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding('latin1');
    socket.on('data', (chunk: string) => {
      this.#received += chunk;
      this.#wake();
    });
    // A reset counts as an end of the connection, which refuses all unanswered requests.
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.#ended = true;
      this.#wake();
    });
  }

  send(bytes: string): void {
    this.#socket.write(bytes, 'latin1');
  }

  /** The next answer, to HEAD when `isHead`; undefined when the connection ends without one. */
  async answer(isHead = false): Promise<RawAnswer | undefined> {
    const head = await this.#until(() => this.#received.indexOf('\r\n\r\n'));
    if (head < 0) return undefined;
    const [statusLine = '', ...lines] = this.#received.slice(0, head).split('\r\n');
    const headers = new Map(
      lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
    );
    const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(statusLine)?.[1]);
    this.#received = this.#received.slice(head + 4);
    const isEmpty = isHead || status < 200 || status === 204 || status === 304;
    return { status, headers, body: isEmpty ? '' : await this.#body(headers) };
  }

  /** Resolves when the other side has closed the connection. */
  async closed(): Promise<void> {
    while (!this.#ended) await this.#news.promise;
  }

  async close(): Promise<void> {
    if (this.#ended) return;
    this.#socket.destroy();
    await once(this.#socket, 'close');
  }

  async #body(headers: ReadonlyMap<string, string>): Promise<string> {
    const length = Number(headers.get('content-length'));
    let end = -1;
    if (!Number.isNaN(length)) {
      end = await this.#until(() => (this.#received.length >= length ? length : -1));
    } else if (headers.get('transfer-encoding') === 'chunked') {
      const last = '0\r\n\r\n';
      end = (await this.#until(() => this.#received.indexOf(last))) + last.length;
    } else {
      await this.closed();
    }
    const body = end < 0 ? this.#received : this.#received.slice(0, end);
    this.#received = this.#received.slice(body.length);
    return body;
  }

  /** Waits for a place that is not negative, or for the end of the connection. */
  async #until(place: () => number): Promise<number> {
    for (;;) {
      const found = place();
      if (found >= 0 || this.#ended) return found;
      await this.#news.promise;
    }
  }

  #wake(): void {
    const { resolve } = this.#news;
    this.#news = Promise.withResolvers();
    resolve();
  }
}

/** The last request: all answers before its answer belong to the tested bytes. */
const SENTINEL = 'GET /healthz HTTP/1.1\r\nHost: a\r\nX-Request-Id: sentinel\r\n\r\n';

export interface Exchange {
  /** All answers except that to the sentinel. */
  readonly answers: readonly RawAnswer[];
  readonly isClosed: boolean;
}

/** Sends bytes and, if the connection is still open, the sentinel; resolves with the answers before that of the sentinel. */
export async function exchange(connection: RawConnection, bytes: string): Promise<Exchange> {
  const answers: RawAnswer[] = [];
  let isAsked = false;
  connection.send(bytes);
  for (;;) {
    const answer = await connection.answer(bytes.startsWith('HEAD ') && answers.length === 0);
    if (answer === undefined) return { answers, isClosed: true };
    if (answer.headers.get('x-request-id') === 'sentinel') return { answers, isClosed: false };
    answers.push(answer);
    if (answer.status < 200) continue;
    if (answer.headers.get('connection') === 'close') {
      await connection.closed();
      return { answers, isClosed: true };
    }
    if (!isAsked) connection.send(SENTINEL);
    isAsked = true;
  }
}
