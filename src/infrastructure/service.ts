/** The running service: what starts in which order, and how it stops without losing anything. */
import type { AddressInfo } from 'node:net';
import type { BootstrapListener } from '../adapters/bootstrap/bootstrap-listener.ts';
import type { HttpServer } from '../adapters/http/http-server.ts';
import { StoppingError } from '../domain/errors.ts';

/** Something that lives as long as the process does. */
export interface Part {
  start?(): Promise<void>;
  stop?(): Promise<void>;
  /** In words for an operator; undefined when nothing is missing. */
  notReady?(): Promise<string | undefined>;
}

/** How the process tells everyone that it goes: first no new work, then no work at all. */
export class Stopping {
  readonly #draining = new AbortController();
  readonly #aborting = new AbortController();

  get draining(): AbortSignal {
    return this.#draining.signal;
  }

  /** Ends downloads for which no client waits. */
  get aborting(): AbortSignal {
    return this.#aborting.signal;
  }

  drain(): void {
    this.#draining.abort();
  }

  abort(): void {
    this.#aborting.abort(new StoppingError());
  }
}

export interface ServiceOptions {
  readonly parts: readonly Part[];
  readonly server: HttpServer;
  /** The port of new nodes, if it is served. It opens when it can. */
  readonly bootstrap: BootstrapListener | undefined;
  readonly stopping: Stopping;
  readonly listen: { readonly host: string | undefined; readonly port: number };
  /** How long running responses may take to finish. */
  readonly shutdownTimeoutMs: number;
}

export class Service {
  readonly #options: ServiceOptions;

  constructor(options: ServiceOptions) {
    this.#options = options;
  }

  /** The parts in their order, the listening socket last: no client connects before all parts are ready. */
  async start(): Promise<AddressInfo> {
    const { parts, server, bootstrap, listen } = this.#options;
    for (const part of parts) await part.start?.();
    const address = await server.listen(listen.host, listen.port);
    await bootstrap?.start();
    return address;
  }

  /** Not ready, no new connections, running responses until the deadline, then the parts in reverse order. */
  async stop(): Promise<void> {
    const { parts, server, bootstrap, stopping, shutdownTimeoutMs } = this.#options;
    stopping.drain();
    await Promise.all([server.close(shutdownTimeoutMs), bootstrap?.stop(shutdownTimeoutMs)]);
    stopping.abort();
    for (const part of parts.toReversed()) await part.stop?.();
  }
}
