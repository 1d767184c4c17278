/** The life of a process: its components start in order and stop in reverse, after signals for its end. */
import type { AddressInfo } from 'node:net';
import type { BootstrapListener } from '../adapters/bootstrap/bootstrap-listener.ts';
import type { HttpServer } from '../adapters/http/server/http-server.ts';
import { type ListenAddress, listenFault } from '../adapters/http/server/listen-address.ts';
import { StoppingError } from '../domain/errors.ts';

/** A part of the process that starts before it works, and stops after it. */
export interface Component {
  start?(): Promise<void>;
  stop?(): Promise<void>;
  /** In words for an operator; undefined when nothing is missing. */
  notReady?(): Promise<string | undefined>;
}

/** The end of the process in two steps: no new work, then no work at all. */
export class ShutdownSignals {
  readonly #draining = new AbortController();
  readonly #aborted = new AbortController();

  get draining(): AbortSignal {
    return this.#draining.signal;
  }

  /** Ends downloads for which no client waits. */
  get aborted(): AbortSignal {
    return this.#aborted.signal;
  }

  drain(): void {
    this.#draining.abort();
  }

  abort(): void {
    this.#aborted.abort(new StoppingError());
  }
}

export class Lifecycle {
  readonly #components: readonly Component[];
  readonly #started: Component[] = [];

  constructor(components: readonly Component[]) {
    this.#components = components;
  }

  /** Rejects with the error of the first component that does not start; `stop` then stops those before it, and it. */
  async start(): Promise<void> {
    for (const component of this.#components) {
      this.#started.push(component);
      await component.start?.();
    }
  }

  async stop(): Promise<void> {
    for (const component of this.#started.splice(0).toReversed()) await component.stop?.();
  }

  /** Resolves with the reasons of all components that are not ready. */
  async notReady(): Promise<string[]> {
    const reasons = await Promise.all(this.#components.map(async (component) => component.notReady?.()));
    return reasons.filter((reason) => reason !== undefined);
  }
}

interface ServiceOptions {
  readonly lifecycle: Lifecycle;
  readonly server: HttpServer;
  /** The port of new nodes, if it is served. It opens when it can. */
  readonly bootstrap: BootstrapListener | undefined;
  readonly shutdown: ShutdownSignals;
  readonly listen: ListenAddress;
  /** How long running responses may take to finish. */
  readonly shutdownTimeoutMs: number;
}

export class Service {
  readonly #options: ServiceOptions;

  constructor(options: ServiceOptions) {
    this.#options = options;
  }

  /** The listening socket comes last: no client connects before all components are started. */
  async start(): Promise<AddressInfo> {
    const { lifecycle, server, bootstrap, listen } = this.#options;
    await lifecycle.start();
    const address = await server.listen(listen.host, listen.port).catch((error: unknown) => {
      throw listenFault(error, listen);
    });
    await bootstrap?.start();
    return address;
  }

  /** Refuses new connections, waits for running responses until the deadline, then stops the components. */
  async stop(): Promise<void> {
    const { lifecycle, server, bootstrap, shutdown, shutdownTimeoutMs } = this.#options;
    shutdown.drain();
    await Promise.all([server.close(shutdownTimeoutMs), bootstrap?.stop(shutdownTimeoutMs)]);
    shutdown.abort();
    await lifecycle.stop();
  }
}
