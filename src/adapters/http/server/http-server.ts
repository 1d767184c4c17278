/** The listening socket, its limits, and a shutdown that lets running requests finish. */
import { overloaded } from './problem.ts';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, Socket } from 'node:net';
import { Acceptors, Connections } from './connections.ts';
import type { MutualTls } from './mutual-tls.ts';
import type { HeadRefusal } from './refused-heads.ts';

export interface ServerLimits {
  readonly keepAliveTimeoutMs: number;
  /** The time for the head of one request, from the connection or its first byte on, and for a TLS handshake. */
  readonly headersTimeoutMs: number;
  readonly maxConnections: number;
  readonly maxHeaderBytes: number;
  /**
   * Whether requests may violate the strict rules of the parser, for example with bare line feeds. Two parsers could
   * disagree about the end of such a request, so the connection closes after each response.
   */
  readonly isLenient?: boolean;
}

export const LIMITS: ServerLimits = {
  // The sidecar keeps idle connections for 90 s; this service must not close first, or the sidecar's next request fails.
  keepAliveTimeoutMs: 120_000,
  // A request has one short line and few headers.
  headersTimeoutMs: 10_000,
  // Twice the number of nodes of a large cluster, which has a thousand.
  maxConnections: 2048,
  // The limit for headers of registries, too: a client's token was 17 kB long. The sidecar would accept 1 MiB.
  maxHeaderBytes: 64 * 1024,
};

/** The largest delay until a time-out is noticed. */
const CHECKING_INTERVAL_MS = 1000;
/** The interval of the search for idle connections while the server drains. */
const DRAIN_INTERVAL_MS = 250;

/** With these, eight connections are accepted in one turn of the event loop. */
const MORE_ACCEPTORS = 7;

export class HttpServer {
  readonly #server: Server;
  readonly #acceptors: Acceptors;
  /** The last response of each connection. */
  readonly #answers = new WeakMap<Socket, ServerResponse>();
  /** The responses after which the connection is closed. */
  readonly #last = new WeakSet<ServerResponse>();
  #closing = false;

  /** With `tls` the server speaks HTTPS, and accepts only known clients. */
  constructor(
    handle: (request: IncomingMessage, response: ServerResponse) => unknown,
    tls?: MutualTls,
    { keepAliveTimeoutMs, headersTimeoutMs, maxConnections, maxHeaderBytes, isLenient = false }: ServerLimits = LIMITS,
    refuseHead?: HeadRefusal,
  ) {
    const limits = {
      keepAliveTimeout: keepAliveTimeoutMs,
      headersTimeout: headersTimeoutMs,
      // Requests have no body, so this limit equals that of the head.
      requestTimeout: headersTimeoutMs,
      maxHeaderSize: maxHeaderBytes,
      insecureHTTPParser: isLenient,
      connectionsCheckingInterval: Math.min(CHECKING_INTERVAL_MS, headersTimeoutMs),
      // The middleware refuses a request without Host and closes the connection; Node would leave it open.
      requireHostHeader: false,
    };
    const answer = (request: IncomingMessage, response: ServerResponse): void => {
      if (!this.#isNext(request, response)) return;
      if (connections.isExcess(request.socket)) {
        if (refuseHead === undefined) request.socket.destroy();
        else refuseHead(overloaded('too many connections'), request.socket, true);
        return;
      }
      if (this.#closing || isLenient) response.setHeader('Connection', 'close');
      response.once('close', connections.busy(request.socket));
      handle(request, response);
    };
    const listener = tls === undefined ? answer : tls.guarded(answer);
    this.#server =
      tls === undefined
        ? createServer(limits, listener)
        : tls.createServer({ ...limits, handshakeTimeout: headersTimeoutMs }, listener);
    if (refuseHead !== undefined) {
      this.#server.on('clientError', (error, socket) => {
        if (socket instanceof Socket) refuseHead(error, socket, this.#mayAnswer(socket));
        else socket.destroy();
      });
    }
    const connections = new Connections(maxConnections);
    this.#server.on('connection', (socket) => {
      connections.add(socket);
      if (isLenient) endBareRequest(socket, maxHeaderBytes);
    });
    // Node's own servers have these options for HTTP and for HTTPS.
    this.#acceptors = new Acceptors(this.#server, MORE_ACCEPTORS, { allowHalfOpen: tls === undefined, noDelay: true });
    // A request with an expectation gets a final response, never one that invites its body.
    this.#server.on('checkContinue', listener).on('checkExpectation', listener);
  }

  /**
   * Returns whether all earlier requests of the connection have been answered. Node would run all requests of a packet at a
   * time, also after a refused one. So only the first is answered, and then the connection is closed, which any client must
   * expect (RFC 9112 section 9.3.2). The sidecar never sends two at a time.
   */
  #isNext({ socket }: IncomingMessage, response: ServerResponse): boolean {
    const running = this.#answers.get(socket);
    if (running === undefined || (running.writableEnded && running.getHeader('Connection') !== 'close')) {
      this.#answers.set(socket, response);
      return true;
    }
    if (this.#last.has(running)) return false;
    this.#last.add(running);
    socket.pause();
    if (!running.headersSent) running.setHeader('Connection', 'close');
    running.once('finish', () => {
      socket.destroySoon();
    });
    return false;
  }

  /** Returns whether the bytes of a response would not mix with those of another one. */
  #mayAnswer(socket: Socket): boolean {
    const running = this.#answers.get(socket);
    return running === undefined || running.writableFinished || !running.headersSent;
  }

  /** Listens on a free port if `port` is 0; resolves with the address in use. */
  listen(host: string | undefined, port: number): Promise<AddressInfo> {
    return this.#acceptors.listen(host, port);
  }

  /** Resolves with the seconds until a new connection is accepted; at most a minute. */
  acceptDelay(): Promise<number> {
    return this.#acceptors.delay();
  }

  /** Stops accepting, lets running requests continue until `deadlineMs` from now, then ends the rest. */
  async close(deadlineMs: number): Promise<void> {
    this.#closing = true;
    const closed = this.#acceptors.close();
    const idle = setInterval(() => {
      this.#server.closeIdleConnections();
    }, DRAIN_INTERVAL_MS);
    const deadline = setTimeout(() => {
      this.#server.closeAllConnections();
    }, deadlineMs);
    await closed;
    clearInterval(idle);
    clearTimeout(deadline);
  }
}

/** Node's lenient parser waits for a third line feed after a request line without headers; two end the request. */
function endBareRequest(socket: Socket, maxHeaderBytes: number): void {
  let head = '';
  const look = (chunk: Buffer): void => {
    head += chunk.toString('latin1');
    if (head.length < maxHeaderBytes && /^[^\r\n]+\n?$/.test(head)) return;
    socket.off('data', look);
    if (/^[^\r\n]+\n\n$/.test(head)) socket.emit('data', Buffer.from('\n'));
  };
  socket.on('data', look);
}
