/** The pools of connections to one registry and to the hosts that it redirects to, directly or through a proxy. */
import { Agent as HttpAgent, type AgentOptions, type ClientRequest, type ClientRequestArgs } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { BoundedMap } from '../../../domain/bounded-map.ts';
import type { Registry } from '../../../domain/upstream.ts';
import { setIdle } from '../bulk/parser-bypass.ts';
import { Connector, type Network, TlsContexts, type TlsOptions } from './connector.ts';
import { DialGuard } from './dial-guard.ts';
import { Names } from './names.ts';
import { type Destination, parseNoProxy, parseProxy, type Proxy, proxyUrl } from './proxy.ts';

/** `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, in either case; others mean nothing here. */
export type ProxyVariables = Readonly<Record<string, string | undefined>>;

/** The parts that the pools of all registries of a process share. */
export interface SharedPools extends Network {
  readonly idle: IdleSockets;
  /** Undefined for a URL that is reached directly. @throws ConnectFault when the proxy of the environment cannot be used. */
  readonly proxyFor: (url: URL) => Proxy | undefined;
}

/** The pool of one scheme. */
type Agents = { readonly http: HttpAgent } | { readonly https: HttpsAgent };

type Dial = (to: Destination, tls?: TlsOptions) => Promise<Socket>;

/** Idle sockets are closed after this, also those of a registry that is no longer configured. */
const IDLE_SOCKET_MS = 60_000;
/** For all registries together: an idle connection with TLS holds 60 KiB, and its registry may never be asked again. */
const MAX_IDLE_SOCKETS = 32;
/** To one host: three quarters of the most parallel downloads that can be set, and 64 for manifests and tokens. */
const MAX_SOCKETS = 256;
const OPTIONS: AgentOptions = { keepAlive: true, timeout: IDLE_SOCKET_MS, maxSockets: MAX_SOCKETS };
/** TLS sessions that are kept for later connections of one registry. */
const MAX_SESSIONS = 100;

export function sharePools(connectTimeoutMs: number, environment: ProxyVariables): SharedPools {
  const isDirect = parseNoProxy(readVariable(environment, 'NO_PROXY'));
  return {
    names: new Names({ timeoutMs: connectTimeoutMs }),
    tlsContexts: new TlsContexts(),
    connectTimeoutMs,
    idle: new IdleSockets(),
    // Parsed when it is needed: a proxy that cannot be used does not matter to requests that do not use it.
    proxyFor: (url) =>
      isDirect(url)
        ? undefined
        : parseProxy(readVariable(environment, url.protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY')),
  };
}

export class Pools {
  readonly #guard: DialGuard;
  readonly #connector: Connector;
  readonly #shared: SharedPools;
  /** A registry seldom needs more than one of the four. */
  readonly #agents = new Map<string, Agents>();

  /** `trusted` are hosts that the settings name, with or without a port. */
  constructor(registry: Registry, trusted: readonly string[], shared: SharedPools) {
    this.#guard = new DialGuard(registry, trusted, shared.names);
    this.#connector = new Connector(registry, this.#guard, shared);
    this.#shared = shared;
  }

  /**
   * Chosen by URL, since a redirect may lead from a host behind the proxy to one before it.
   * @throws ForbiddenAddressError, ConnectFault
   */
  for(url: URL): Agents {
    this.#guard.check(url);
    const proxy = this.#shared.proxyFor(url);
    const key = `${url.protocol} ${String(proxy === undefined)}`;
    let agents = this.#agents.get(key);
    if (agents === undefined) {
      agents = url.protocol === 'https:' ? { https: this.#https(proxy) } : { http: this.#http(proxy) };
      this.#agents.set(key, agents);
    }
    return agents;
  }

  #https(proxy: Proxy | undefined): HttpsAgent {
    return new DialledHttpsAgent(this.#shared.idle, this.#dial(proxy));
  }

  #http(proxy: Proxy | undefined): HttpAgent {
    const { idle } = this.#shared;
    if (proxy === undefined || proxy.kind === 'socks') return new DialledHttpAgent(idle, this.#dial(proxy));
    // Node writes the whole URL and the proxy's credential into each request.
    const proxyEnv = { HTTP_PROXY: proxyUrl(proxy) };
    return new DialledHttpAgent(idle, () => this.#connector.toProxy(proxy), { proxyEnv });
  }

  #dial(proxy: Proxy | undefined): Dial {
    return (to, tls) =>
      proxy === undefined ? this.#connector.direct(to, tls) : this.#connector.throughProxy(proxy, to, tls);
  }
}

/** Node documents that it returns whether the connection stays open, and declares that it returns nothing. */
const { keepSocketAlive: decides } = HttpAgent.prototype as unknown as {
  keepSocketAlive: (this: HttpAgent, socket: Duplex) => boolean;
};

/** The connections that wait for their next request, the longest idle first. */
class IdleSockets {
  readonly #sockets = new Set<Duplex>();

  /** Whether the connection stays open, as its agent decides; then closes the longest idle one when there are too many. */
  keep(agent: HttpAgent, socket: Duplex): boolean {
    if (!decides.call(agent, socket)) return false;
    const [oldest] = this.#sockets;
    if (oldest !== undefined && this.#sockets.size >= MAX_IDLE_SOCKETS) oldest.destroy();
    this.#sockets.add(socket);
    setIdle(socket, true);
    return true;
  }

  /** For a connection that is used again or closed. */
  remove(socket: Duplex): void {
    this.#sockets.delete(socket);
    setIdle(socket, false);
  }
}

type Connect = HttpAgent['createConnection'];
type Connected = NonNullable<Parameters<Connect>[1]>;

class DialledHttpAgent extends HttpAgent {
  readonly #idle: IdleSockets;
  readonly #dial: Dial;

  constructor(idle: IdleSockets, dial: Dial, options: AgentOptions = {}) {
    super({ ...OPTIONS, ...options });
    this.#idle = idle;
    this.#dial = dial;
  }

  override createConnection(...[options, callback]: Parameters<Connect>): undefined {
    handOver(this.#dial(destinationOf(options)), this.#idle, callback);
  }

  override keepSocketAlive(socket: Duplex): boolean {
    return this.#idle.keep(this, socket);
  }

  override reuseSocket(socket: Duplex, request: ClientRequest): void {
    this.#idle.remove(socket);
    super.reuseSocket(socket, request);
  }
}

class DialledHttpsAgent extends HttpsAgent {
  readonly #idle: IdleSockets;
  readonly #dial: Dial;
  /** A later connection to the same host goes without a full handshake. */
  readonly #sessions = new BoundedMap<string, Buffer>(MAX_SESSIONS);

  constructor(idle: IdleSockets, dial: Dial) {
    super(OPTIONS);
    this.#idle = idle;
    this.#dial = dial;
  }

  override createConnection(...[options, callback]: Parameters<Connect>): undefined {
    const to = destinationOf(options);
    const { servername, ALPNProtocols } = options as TlsOptions;
    const key = `${to.host}:${String(to.port)}`;
    const session = this.#sessions.get(key);
    const tls = {
      ...(servername !== undefined && { servername }),
      ...(ALPNProtocols !== undefined && { ALPNProtocols }),
      ...(session !== undefined && { session }),
    };
    const dialled = this.#dial(to, tls);
    handOver(dialled, this.#idle, callback);
    dialled.then(
      (socket) => {
        socket.on('session', (ticket: Buffer) => {
          this.#sessions.set(key, ticket);
        });
      },
      () => {
        this.#sessions.delete(key);
      },
    );
  }

  override keepSocketAlive(socket: Duplex): boolean {
    return this.#idle.keep(this, socket);
  }

  override reuseSocket(socket: Duplex, request: ClientRequest): void {
    this.#idle.remove(socket);
    super.reuseSocket(socket, request);
  }
}

/** An agent waits for its callback when it is given no socket at once. */
function handOver(dialled: Promise<Socket>, idle: IdleSockets, callback: Connected | undefined): void {
  dialled.then(
    (socket) => {
      socket.once('close', () => {
        idle.remove(socket);
      });
      callback?.(null, socket);
    },
    // Node declares the socket of a failed connection, and reads none.
    (error: unknown) => callback?.(error as Error, undefined as never),
  );
}

function destinationOf({ host, port }: ClientRequestArgs): Destination {
  return { host: (host ?? '').replace(/^\[|\]$/g, ''), port: Number(port) };
}

/** As Go does: the upper case first, and an empty value is as good as none. */
export function readVariable(environment: ProxyVariables, name: string): string {
  return (
    [environment[name], environment[name.toLowerCase()]].find((value) => value !== undefined && value !== '') ?? ''
  );
}
