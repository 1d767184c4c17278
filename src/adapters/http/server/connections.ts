/** The sockets of the server: several listen at one address, and the connections are bounded. */
import {
  type AddressInfo,
  connect,
  createServer,
  type ListenOptions,
  type Server,
  type ServerOpts,
  type Socket,
} from 'node:net';

/** The longest delay of an accept that is measured. */
const MAX_DELAY_MS = 60_000;

/** Connections beyond the limit that are told so; any more are closed without a word. */
const MAX_EXCESS = 64;

/**
 * At the limit, the connection that has been silent longest makes room: of those that wait for a next request, and only then of
 * those whose first request may be on its way.
 */
export class Connections {
  readonly #max: number;
  readonly #open = new Map<string, Socket>();
  /** Those behind an answer, the one that has been silent longest first. */
  readonly #idle = new Set<string>();
  /** Those before their first request, the oldest first. */
  readonly #fresh = new Set<string>();
  /** Those beyond the limit. */
  readonly #excess = new Set<string>();

  constructor(max: number) {
    this.#max = max;
  }

  /** When a request runs on each of the others it is one too many, or is closed. */
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

  /** Whether the connection is one too many, whose request is to be refused. */
  isExcess(socket: Socket): boolean {
    return this.#excess.has(keyOf(socket));
  }

  /** A request runs on the connection until the function that it returns is called. */
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
    // Its event comes later, and the next connection may come before it.
    this.#open.delete(key);
    this.#idle.delete(key);
    this.#fresh.delete(key);
    return true;
  }
}

/** The same for a connection and for the TLS in it, which are two sockets. */
function keyOf({ remoteAddress = '', remotePort = 0 }: Socket): string {
  return `${remoteAddress} ${String(remotePort)}`;
}

/** libuv accepts one connection of a listening socket in a turn: 64 took 64 turns with one of them, and 10 with eight. */
export class Acceptors {
  readonly #servers: readonly Server[];

  /** Beside `server`, so many others hand it their connections, whose options are `options`. */
  constructor(server: Server, count: number, options: ServerOpts) {
    const handOver = (socket: Socket): boolean => server.emit('connection', socket);
    this.#servers = [server, ...Array.from({ length: count }, () => createServer(options, handOver))];
  }

  /** Port 0 takes any free one; resolves with the address in use. Rejects when another process listens there. */
  async listen(host: string | undefined, port: number): Promise<AddressInfo> {
    const address = { ...(host !== undefined && { host }), port };
    // A socket that shares its port would be let in beside that of another service of the same user.
    if (port !== 0) await close(await open(createServer(), address));
    const [first, ...others] = this.#servers;
    if (first === undefined) throw new Error('no listener');
    try {
      await open(first, { ...address, reusePort: true });
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOTSUP')) throw error;
      await open(first, address);
      return first.address() as AddressInfo;
    }
    const taken = first.address() as AddressInfo;
    for (const server of others) await open(server, { ...address, port: taken.port, reusePort: true });
    return taken;
  }

  /** Seconds until a connection that is made now is accepted; a minute at most, and 0 when none can be made. */
  async delay(): Promise<number> {
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

  /** Accepts no more; resolves when all connections are closed. */
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
