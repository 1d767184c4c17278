/** The bootstrap port: the service retries until it is open, and works without it. */
import type { AddressInfo } from 'node:net';
import { HttpServer, type ServerLimits } from '../http/server/http-server.ts';
import { refuseHeads } from '../http/server/refused-heads.ts';
import { type BootstrapOptions, createBootstrapApp } from './bootstrap-app.ts';

const LIMITS: ServerLimits = {
  keepAliveTimeoutMs: 30_000,
  headersTimeoutMs: 5_000,
  // More than the number of nodes that join at a time. The admission limits the bodies in progress.
  maxConnections: 512,
  // A request has only a path and a digest. The Go implementation accepts the same: 4 KiB, to which Go adds 4 KiB.
  maxHeaderBytes: 8 * 1024,
  // A new machine writes its request with printf and a bare line feed, which Go accepts.
  isLenient: true,
};
const RETRY_MS = 5_000;

export interface BootstrapListenerOptions extends BootstrapOptions {
  readonly listen: { readonly host: string | undefined; readonly port: number };
  /** Called for each failure to open the port. */
  readonly onFailure: (error: Error) => void;
  readonly onListening: (address: AddressInfo) => void;
  readonly retryMs?: number;
}

export class BootstrapListener {
  readonly #options: BootstrapListenerOptions;
  readonly #server: HttpServer;
  readonly #closing = new AbortController();
  #failure: string | undefined = 'the bootstrap port is not open yet';
  #retry: NodeJS.Timeout | undefined;

  constructor(options: BootstrapListenerOptions) {
    this.#options = options;
    this.#server = new HttpServer(
      createBootstrapApp(options).callback(),
      undefined,
      LIMITS,
      refuseHeads(options.observers),
    );
  }

  /** Never rejects: if another process uses the port, the listener retries every few seconds. */
  async start(): Promise<void> {
    const { listen, onFailure, onListening, retryMs = RETRY_MS } = this.#options;
    try {
      const address = await this.#server.listen(listen.host, listen.port);
      this.#failure = undefined;
      onListening(address);
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      this.#failure = `the bootstrap port cannot be opened: ${error.message}`;
      onFailure(error);
      if (!this.#closing.signal.aborted) this.#retry = setTimeout(() => void this.start(), retryMs);
    }
  }

  get isOpen(): boolean {
    return this.#failure === undefined;
  }

  /** Resolves with the reason for an operator; undefined if the port is open. */
  notReady(): Promise<string | undefined> {
    return Promise.resolve(this.#failure);
  }

  /** Running responses may continue until `deadlineMs` from now. */
  async stop(deadlineMs = 0): Promise<void> {
    this.#closing.abort();
    clearTimeout(this.#retry);
    await this.#server.close(deadlineMs);
  }
}
