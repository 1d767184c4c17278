/** A bounded number of connections: at the limit, the one that has been silent longest makes room. */
import type { Socket } from 'node:net';

export class Connections {
  readonly #max: number;
  readonly #open = new Map<string, Socket>();
  /** Those without a running request, the one that has been silent longest first. */
  readonly #silent = new Set<string>();

  constructor(max: number) {
    this.#max = max;
  }

  /** Closes it when a request runs on each of the others. */
  add(socket: Socket): void {
    if (this.#open.size >= this.#max && !this.#closeSilent()) {
      socket.destroy();
      return;
    }
    const key = keyOf(socket);
    this.#open.set(key, socket);
    this.#silent.add(key);
    socket.once('close', () => {
      if (this.#open.get(key) !== socket) return;
      this.#open.delete(key);
      this.#silent.delete(key);
    });
  }

  /** A request runs on the connection until the function that it returns is called. */
  busy(socket: Socket): () => void {
    const key = keyOf(socket);
    this.#silent.delete(key);
    return () => {
      if (this.#open.has(key)) this.#silent.add(key);
    };
  }

  #closeSilent(): boolean {
    const [key] = this.#silent;
    if (key === undefined) return false;
    this.#open.get(key)?.destroy();
    // Its event comes later, and the next connection may come before it.
    this.#open.delete(key);
    this.#silent.delete(key);
    return true;
  }
}

/** The same for a connection and for the TLS in it, which are two sockets. */
function keyOf({ remoteAddress = '', remotePort = 0 }: Socket): string {
  return `${remoteAddress} ${String(remotePort)}`;
}
