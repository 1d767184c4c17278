/** The sockets of the server: several sockets listen on one address, and the number of connections is limited. */
import {
  type AddressInfo,
  connect,
  createServer,
  type ListenOptions,
  type Server,
  type ServerOpts,
  type Socket,
} from 'node:net';
import { TLSSocket } from 'node:tls';
import { errnoOf } from '../../../domain/errors.ts';

/** The longest accept delay that is measured. */
const MAX_DELAY_MS = 60_000;

/** Connections beyond the limit that get a response; further ones are closed without a response. */
const MAX_EXCESS = 64;

/**
 * At the limit, the connection with the longest silence is closed: first among those that wait for a next request, then
 * among those that have not sent their first request.
 */
export class Connections {
  readonly #max: number;
  readonly #open = new Map<string, Socket>();
  /** Connections after a response, the one with the longest silence first. */
  readonly #idle = new Set<string>();
  /** Connections before their first request, the oldest first. */
  readonly #fresh = new Set<string>();
  /** Connections beyond the limit. */
  readonly #excess = new Set<string>();

  constructor(max: number) {
    this.#max = max;
  }

  /** Adds a connection; if a request runs on each of the others, it becomes an excess connection, or is closed. */
  add(socket: Socket): void {
    const key = keyOf(socket);
    if (this.#open.size >= this.#max && !this.#closeSilent()) {
      if (this.#excess.size >= MAX_EXCESS) {
        socket.destroy();
        return;
      }
      this.#excess.add(key);
      socket.once('close', () => {
        this.#excess.delete(key);
      });
      return;
    }
    this.#open.set(key, socket);
    this.#fresh.add(key);
    socket.once('close', () => {
      if (this.#open.get(key) !== socket) return;
      this.#open.delete(key);
      this.#idle.delete(key);
      this.#fresh.delete(key);
    });
  }

  /** Returns whether the connection is beyond the limit; its request must be refused. */
  isExcess(socket: Socket): boolean {
    return this.#excess.has(keyOf(socket));
  }

  /** Marks the connection as busy until the returned function is called. */
  busy(socket: Socket): () => void {
    const key = keyOf(socket);
    this.#idle.delete(key);
    this.#fresh.delete(key);
    return () => {
      if (this.#open.has(key)) this.#idle.add(key);
    };
  }

  #closeSilent(): boolean {
    const [key] = this.#idle.size > 0 ? this.#idle : this.#fresh;
    if (key === undefined) return false;
    this.#open.get(key)?.destroy();
    // The next connection may come before the close event of this socket.
    this.#open.delete(key);
    this.#idle.delete(key);
    this.#fresh.delete(key);
    return true;
  }
}

/** Returns the same key for a connection and for the TLS socket in it. */
function keyOf({ remoteAddress = '', remotePort = 0 }: Socket): string {
  return `${remoteAddress} ${String(remotePort)}`;
}

/** Ends a connection so that the kernel keeps no bytes for a reader that reads nothing. */
export function resetConnection(socket: Socket): void {
  // Node cannot reset a connection with TLS.
  if (socket instanceof TLSSocket) socket.destroy();
  else socket.resetAndDestroy();
}

/**
 * libuv accepts one connection of a listening socket in a turn: 64 connections took 64 turns with one socket, and 10 with
 * eight.
 */
export class Acceptors {
  readonly #servers: readonly Server[];
  /** The running measurement. */
  #delay: Promise<number> | undefined;

  /** Adds `count` servers to `server`; they pass their connections, which have `options`, to it. */
  constructor(server: Server, count: number, options: ServerOpts) {
    const handOver = (socket: Socket): boolean => server.emit('connection', socket);
    this.#servers = [server, ...Array.from({ length: count }, () => createServer(options, handOver))];
  }

  /** Listens on a free port if `port` is 0; resolves with the address in use. Rejects if another process listens there. */
  async listen(host: string | undefined, port: number): Promise<AddressInfo> {
    const address = { ...(host !== undefined && { host }), port };
    // With a shared port the system would accept this socket even if another service of the same user listens there.
    if (port !== 0) await close(await open(createServer(), address));
    const [first, ...others] = this.#servers;
    if (first === undefined) throw new Error('no listener');
    try {
      await open(first, { ...address, reusePort: true });
    } catch (error) {
      if (errnoOf(error) !== 'ENOTSUP') throw error;
      await open(first, address);
      return first.address() as AddressInfo;
    }
    const taken = first.address() as AddressInfo;
    for (const server of others) await open(server, { ...address, port: taken.port, reusePort: true });
    return taken;
  }

  /**
   * Resolves with the seconds until a new connection is accepted; at most a minute, and 0 if the connection fails. Concurrent
   * callers share one connection, so that a flood of scrapes takes no connections of clients.
   */
  delay(): Promise<number> {
    return (this.#delay ??= this.#measure().finally(() => {
      this.#delay = undefined;
    }));
  }

  async #measure(): Promise<number> {
    const [server] = this.#servers;
    const address = server?.address();
    if (server === undefined || address === null || typeof address !== 'object') return 0;
    const host = { '0.0.0.0': '127.0.0.1', '::': '::1' }[address.address] ?? address.address;
    const began = performance.now();
    const socket = connect({ host, port: address.port });
    const ended = Promise.withResolvers<number>();
    const onAccept = ({ remotePort }: Socket): void => {
      if (remotePort === socket.localPort) ended.resolve((performance.now() - began) / 1000);
    };
    const giveUp = setTimeout(() => {
      ended.resolve(MAX_DELAY_MS / 1000);
    }, MAX_DELAY_MS);
    server.on('connection', onAccept);
    socket.once('error', () => {
      ended.resolve(0);
    });
    return ended.promise.finally(() => {
      clearTimeout(giveUp);
      server.off('connection', onAccept);
      socket.destroy();
    });
  }

  /** Stops accepting; resolves when all connections are closed. */
  async close(): Promise<void> {
    await Promise.all(this.#servers.filter(({ listening }) => listening).map(close));
  }
}

async function open(server: Server, options: ListenOptions): Promise<Server> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options, () => {
      server.off('error', reject);
      resolve();
    });
  });
  return server;
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => {
      resolve();
    });
  });
}
