/** An HTTP server on loopback that can be shut at any moment, with open connections too. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { serverCertificate } from '../../../../test/support/tls/certificates.ts';

export interface ListenerOptions {
  /** Plain HTTP when absent. */
  readonly tls?: 'localhost' | 'elsewhere';
  /** Any free one when absent. */
  readonly port?: number;
}

/** Clients keep their connections for a little less, and have ended them before the checks at rest are over. */
const KEEP_ALIVE_MS = 4000;

export class Listener {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #scheme: string;

  private constructor(server: Server, scheme: string) {
    this.#server = server;
    this.#scheme = scheme;
    server.keepAliveTimeout = KEEP_ALIVE_MS;
    // Those in the middle of a handshake too, which HTTP does not know of.
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

  /** Connections that stay are in use. */
  closeIdle(): void {
    this.#server.closeIdleConnections();
  }

  /** All that runs is reset; connections are refused from now on. */
  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
