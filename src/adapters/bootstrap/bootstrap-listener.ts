/** The bootstrap port: it opens when it can, and the service lives without it. */
import type { AddressInfo } from 'node:net';
import { HttpServer, type ServerLimits } from '../http/server/http-server.ts';
import { refuseHeads } from '../http/server/refused-heads.ts';
import { type BootstrapOptions, createBootstrapApp } from './bootstrap-app.ts';

const LIMITS: ServerLimits = {
  keepAliveTimeoutMs: 30_000,
  headersTimeoutMs: 5_000,
  // More than the nodes that join at a time. The admission bounds the bodies that are sent.
  maxConnections: 512,
  // A request names a path and a digest. The Go implementation takes as much: 4 KiB, to which Go adds 4 KiB.
  maxHeaderBytes: 8 * 1024,
  // A machine that has nothing yet writes its request by printf and a bare line feed, which Go takes.
  isLenient: true,
};
const RETRY_MS = 5_000;

export interface BootstrapListenerOptions extends BootstrapOptions {
  readonly listen: { readonly host: string | undefined; readonly port: number };
  /** Told of each failure to open the port. */
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

  /** Never rejects: a port that another process holds is tried again every few seconds. */
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

  /** The reason in words for an operator; undefined when the port is open. */
  notReady(): Promise<string | undefined> {
    return Promise.resolve(this.#failure);
  }

  /** Running answers may go on until `deadlineMs` from now. */
  async stop(deadlineMs = 0): Promise<void> {
    this.#closing.abort();
    clearTimeout(this.#retry);
    await this.#server.close(deadlineMs);
  }
}
