/** Bypasses Node's HTTP parser: the body of a large blob goes from its socket directly into blocks (ADR 13). */
import type { ClientRequest, IncomingMessage } from 'node:http';
import type { OnReadOpts, Socket } from 'node:net';
import { DirectBody } from './direct-body.ts';

/** The answer to one request, whose body may bypass the parser. */
interface Bypass {
  /** Call this after the headers have arrived. Undefined for a body that is small, or whose length is unknown. */
  body(): Promise<DirectBody | undefined>;
  /** The connection or the request has failed. A complete body is not affected. */
  fail(error: Error): void;
}

/** A smaller body arrives mostly with its headers, so the bypass would cost more than it saves. */
const LARGE_BYTES = 256 * 1024;

/** One buffer for all connections: its bytes are copied before the next connection reads into it. */
const shared = new Uint8Array(64 * 1024);

/** The parser gets this instead of a body. It counts the bytes and reads none, so this memory never takes a page. */
const PLACEHOLDER = Buffer.alloc(1024 * 1024);

/** The index of the parser's callback for pieces of a body. Without one it copies no piece (`on_body` in node_http_parser.cc). */
const ON_BODY = 3;

const inflows = new WeakMap<object, Inflow>();

/**
 * Opens a socket that reads into the memory of the bypass. `open` passes the options to Node, which accepts none for TLS over
 * another socket: with `isOverSocket` each read is copied into a block.
 */
export function openForBypass<Made extends Socket>(
  open: (options: { readonly onread: OnReadOpts }) => Made,
  isOverSocket = false,
): Made {
  const inflow = new Inflow();
  const socket = open({ onread: inflow.onread });
  if (isOverSocket) inflow.intercept(socket);
  else inflow.attach(socket);
  return socket;
}

/**
 * Records whether a connection waits for its next request. Bytes that arrive meanwhile end the connection, because Node would
 * treat them as the answer to the next request: proxies send a 408 before they close an idle connection.
 */
export function setIdle(socket: object, isIdle: boolean): void {
  const inflow = inflows.get(socket);
  if (inflow !== undefined) inflow.isIdle = isIdle;
}

/** Lets a large body of the answer to `request` bypass the parser. Call this before the request has a socket. */
export function bypassParser(request: ClientRequest): Bypass {
  let inflow: Inflow | undefined;
  let body: DirectBody | undefined;
  request.once('socket', (socket) => {
    inflow = inflows.get(socket);
    inflow?.expect(request);
  });
  return {
    // The parser still works on the bytes with the headers; the inflow takes the body over when the parser returns.
    body: () => Promise.resolve().then(() => (body = inflow?.body)),
    fail: (error) => body?.fail(error),
  };
}

/** `parser` is not in the types of Node. */
type ParsedSocket = Socket & { readonly parser?: Record<number, unknown> };

/** Receives the bytes of one connection and passes them to the parser, until the body of a large blob begins. */
class Inflow {
  #push: Socket['push'] | undefined;
  #socket: Socket | undefined;
  #response: IncomingMessage | undefined;
  #body: DirectBody | undefined;
  isIdle = false;

  readonly onread: OnReadOpts = {
    buffer: () => this.#body?.space() ?? shared,
    callback: (bytes, buffer) => this.#body?.land(bytes) ?? this.#parse(Buffer.from(buffer.subarray(0, bytes))),
  };

  /** Attaches a socket that was created with `onread`. */
  attach(socket: Socket): void {
    this.#socket = socket;
    this.#push = socket.push.bind(socket);
    inflows.set(socket, this);
  }

  intercept(socket: Socket): void {
    this.attach(socket);
    const push = socket.push.bind(socket);
    socket.push = (chunk: Uint8Array | null) => {
      if (chunk === null) return push(chunk);
      return this.#body === undefined ? this.#parse(chunk) : copied(chunk, this.#body);
    };
  }

  expect(request: ClientRequest): void {
    request.prependOnceListener('response', (response) => {
      this.#response = response;
    });
  }

  /** The body, if the expected answer has arrived and its body is large. */
  get body(): DirectBody | undefined {
    return this.#body;
  }

  #parse(chunk: Uint8Array): boolean {
    const socket = this.#socket;
    if (socket === undefined || this.#push === undefined) return false;
    if (this.isIdle) {
      socket.destroy();
      return false;
    }
    // This call parses the chunk and emits "response" before it returns.
    const more = this.#push(chunk);
    const response = this.#response;
    this.#response = undefined;
    if (response === undefined || !isLarge(response)) return more;
    const first = (response.read() as Buffer | null) ?? Buffer.alloc(0);
    const length = Number(response.headers['content-length']);
    this.#body = new DirectBody(socket, first, length, () => {
      this.#endAnswer(length - first.byteLength);
    });
    return true;
  }

  /**
   * Passes as many placeholder bytes to the parser as have bypassed it. For Node the answer ends, and the connection serves the
   * next request. The parser must not copy them: copying 32 MiB took 20 ms.
   */
  #endAnswer(passed: number): void {
    this.#body = undefined;
    const { parser = {} } = this.#socket as ParsedSocket;
    const onBody = parser[ON_BODY];
    parser[ON_BODY] = undefined;
    for (let left = passed; left > 0; left -= PLACEHOLDER.byteLength) this.#push?.(PLACEHOLDER.subarray(0, left));
    parser[ON_BODY] = onBody;
  }
}

/** Copies a chunk into the body; returns false if reading must pause. */
function copied(chunk: Uint8Array, body: DirectBody): boolean {
  let more = true;
  for (let start = 0; start < chunk.byteLength;) {
    const space = body.space();
    if (space === undefined) return false;
    const piece = chunk.subarray(start, start + space.byteLength);
    space.set(piece);
    more = body.land(piece.byteLength);
    start += piece.byteLength;
  }
  return more;
}

function isLarge({ statusCode, headers, complete }: IncomingMessage): boolean {
  const hasContent = statusCode === 200 || statusCode === 206;
  const isFramedByLength = headers['transfer-encoding'] === undefined;
  return hasContent && isFramedByLength && !complete && Number(headers['content-length']) >= LARGE_BYTES;
}
