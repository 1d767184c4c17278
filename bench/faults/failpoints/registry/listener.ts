/** An HTTP server on loopback that can be closed at any moment, even with open connections. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { serverCertificate } from '../../../../test/support/tls/certificates.ts';

export interface ListenerOptions {
  /** Plain HTTP if absent. */
  readonly tls?: 'localhost' | 'elsewhere';
  /** Any free port if absent. */
  readonly port?: number;
}

/** Clients close idle connections a little earlier, so they are closed before the end of the checks at rest. */
const KEEP_ALIVE_MS = 4000;

export class Listener {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #scheme: string;

  private constructor(server: Server, scheme: string) {
    this.#server = server;
    this.#scheme = scheme;
    server.keepAliveTimeout = KEEP_ALIVE_MS;
    // The HTTP server does not know connections that are still in the TLS handshake.
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => this.#sockets.delete(socket));
    });
  }

  static async start(
    serve: (request: IncomingMessage, response: ServerResponse) => void,
    { tls, port = 0 }: ListenerOptions = {},
  ): Promise<Listener> {
    const server = tls === undefined ? createServer(serve) : createTlsServer(serverCertificate(tls), serve);
    const listener = new Listener(server, tls === undefined ? 'http' : 'https');
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, '127.0.0.1', resolve);
    });
    return listener;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get host(): string {
    return `127.0.0.1:${String(this.port)}`;
  }

  get origin(): string {
    return `${this.#scheme}://${this.host}`;
  }

  /** Closes idle connections; those that are in use stay. */
  closeIdle(): void {
    this.#server.closeIdleConnections();
  }

  /** Resets all connections and refuses new ones. */
  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
