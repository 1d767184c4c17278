/** What comes in on one connection: for the parser of HTTP, until the body of a large blob begins. */
import type { ClientRequest, IncomingMessage } from 'node:http';
import type { OnReadOpts, Socket } from 'node:net';
import { DirectBody } from './direct-body.ts';

/** Below this a body is over before it has begun, and its connection worth more than the detour. */
const LARGE_BYTES = 256 * 1024;

/** One for all connections: what is in it is copied before anybody else reads into it. */
const shared = new Uint8Array(64 * 1024);

const inflows = new WeakMap<object, Inflow>();

export class Inflow {
  #socket: Socket | undefined;
  #response: IncomingMessage | undefined;
  #body: DirectBody | undefined;

  /** Of a socket that was made with the `onread` of an inflow. */
  static of(socket: object): Inflow | undefined {
    return inflows.get(socket);
  }

  /** An option of the socket, before there is one. */
  readonly onread: OnReadOpts = {
    buffer: () => this.#body?.space() ?? shared,
    callback: (bytes, buffer) => this.#receive(bytes, buffer),
  };

  attach(socket: Socket): void {
    this.#socket = socket;
    inflows.set(socket, this);
  }

  /** The body of the answer to `request` shall not go through the parser if it is large and its length is known. */
  expect(request: ClientRequest): void {
    request.prependOnceListener('response', (response) => {
      this.#response = response;
    });
  }

  /** The body, if the answer that was expected has come and it was large. */
  get body(): DirectBody | undefined {
    return this.#body;
  }

  #receive(bytes: number, buffer: Uint8Array): boolean {
    if (this.#body !== undefined) return this.#body.land(bytes);
    const socket = this.#socket;
    if (socket === undefined) return false;
    // Parses, and calls whoever waits for the response, before it returns.
    const more = socket.push(Buffer.from(buffer.subarray(0, bytes)));
    const response = this.#response;
    this.#response = undefined;
    if (response === undefined || !isLarge(response)) return more;
    const first = (response.read() as Buffer | null) ?? Buffer.alloc(0);
    this.#body = new DirectBody(socket, first, Number(response.headers['content-length']));
    return true;
  }
}

function isLarge({ statusCode, headers, complete }: IncomingMessage): boolean {
  const hasContent = statusCode === 200 || statusCode === 206;
  const isFramedByLength = headers['transfer-encoding'] === undefined;
  return hasContent && isFramedByLength && !complete && Number(headers['content-length']) >= LARGE_BYTES;
}
