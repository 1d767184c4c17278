/** The listening socket, its limits, and how it is closed without ending requests that can still finish. */
import { overloaded } from './problem.ts';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, Socket } from 'node:net';
import { Acceptors, Connections } from './connections.ts';
import type { MutualTls } from './mutual-tls.ts';
import type { HeadRefusal } from './refused-heads.ts';

export interface ServerLimits {
  readonly keepAliveTimeoutMs: number;
  /** The time for one request's head, from the connection or the request's first byte on; for a TLS handshake as well. */
  readonly headersTimeoutMs: number;
  readonly maxConnections: number;
  readonly maxHeaderBytes: number;
  /**
   * Whether a request may be written as the parser's strict rules forbid, as with bare line feeds. Two parsers could take its
   * end for different places, so the connection closes behind each answer.
   */
  readonly isLenient?: boolean;
}

export const LIMITS: ServerLimits = {
  // The sidecar keeps idle connections for 90 s; this service must not close first, or the sidecar's next request fails.
  keepAliveTimeoutMs: 120_000,
  // A request is one short line and few headers.
  headersTimeoutMs: 10_000,
  // Twice a cluster of a thousand nodes.
  maxConnections: 2048,
  // As much as registries may send: a client's token has been 17 kB long. The sidecar would let 1 MiB through.
  maxHeaderBytes: 64 * 1024,
};

/** How late a time-out may be noticed. */
const CHECKING_INTERVAL_MS = 1000;
/** Idle connections that finished a response while draining are looked for this often. */
const DRAIN_INTERVAL_MS = 250;

/** Eight connections are accepted in one turn of the event loop. */
const MORE_ACCEPTORS = 7;

export class HttpServer {
  readonly #server: Server;
  readonly #acceptors: Acceptors;
  /** The last one on each connection. */
  readonly #answers = new WeakMap<Socket, ServerResponse>();
  /** Those behind which the connection is closed. */
  readonly #last = new WeakSet<ServerResponse>();
  #closing = false;

  /** With `tls` it speaks HTTPS, and with known clients only. */
  constructor(
    handle: (request: IncomingMessage, response: ServerResponse) => unknown,
    tls?: MutualTls,
    { keepAliveTimeoutMs, headersTimeoutMs, maxConnections, maxHeaderBytes, isLenient = false }: ServerLimits = LIMITS,
    refuseHead?: HeadRefusal,
  ) {
    const limits = {
      keepAliveTimeout: keepAliveTimeoutMs,
      headersTimeout: headersTimeoutMs,
      // There is no body to wait for.
      requestTimeout: headersTimeoutMs,
      maxHeaderSize: maxHeaderBytes,
      insecureHTTPParser: isLenient,
      connectionsCheckingInterval: Math.min(CHECKING_INTERVAL_MS, headersTimeoutMs),
      // The middleware refuses such a request and closes the connection; Node would leave it open.
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
    // The options that Node's own servers have for HTTP, and for HTTPS.
    this.#acceptors = new Acceptors(this.#server, MORE_ACCEPTORS, { allowHalfOpen: tls === undefined, noDelay: true });
    // A client that expects something of a request is told by its answer, and never to go on with a body.
    this.#server.on('checkContinue', listener).on('checkExpectation', listener);
  }

  /**
   * Whether all requests before this one have been answered. Node would run as many at a time as there are in a packet,
   * also behind one that is refused; so the first is answered, and then the connection closed, as any client must expect
   * (RFC 9112 section 9.3.2). The sidecar never sends two at a time.
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

  /** Whether no byte of an answer would be mixed with those of another one. */
  #mayAnswer(socket: Socket): boolean {
    const running = this.#answers.get(socket);
    return running === undefined || running.writableFinished || !running.headersSent;
  }

  /** Port 0 takes any free one; resolves with the address in use. */
  listen(host: string | undefined, port: number): Promise<AddressInfo> {
    return this.#acceptors.listen(host, port);
  }

  /** Seconds until a connection that is made now is accepted; a minute at most. */
  acceptDelay(): Promise<number> {
    return this.#acceptors.delay();
  }

  /** Accepts nothing new, lets what runs go on until `deadlineMs` from now, then cuts the rest off. */
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

/** Node's lenient parser waits for a third line feed behind a request line without headers, where two end the request. */
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
