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

/** `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, in upper or lower case. Other variables are ignored. */
export type ProxyVariables = Readonly<Record<string, string | undefined>>;

/** The parts that the pools of all registries of a process share. */
export interface SharedPools extends Network {
  readonly idle: IdleSockets;
  /** Undefined for a URL that needs no proxy. @throws ConnectFault if the proxy of the environment cannot be used. */
  readonly proxyFor: (url: URL) => Proxy | undefined;
}

/** The pool of one scheme. */
type Agents = { readonly http: HttpAgent } | { readonly https: HttpsAgent };

type Dial = (to: Destination, tls?: TlsOptions) => Promise<Socket>;

/** Idle sockets are closed after this time, also those of a registry that is no longer configured. */
const IDLE_SOCKET_MS = 60_000;
/** The limit for all registries together: an idle TLS connection holds 60 KiB, and it may never be used again. */
const MAX_IDLE_SOCKETS = 32;
/** The limit for one host: three quarters of the highest `parallelDownloads`, and 64 for manifests and tokens. */
const MAX_SOCKETS = 256;
const OPTIONS: AgentOptions = { keepAlive: true, timeout: IDLE_SOCKET_MS, maxSockets: MAX_SOCKETS };
/** The number of TLS sessions that are kept for later connections to one registry. */
const MAX_SESSIONS = 100;

export function sharePools(connectTimeoutMs: number, environment: ProxyVariables): SharedPools {
  const isDirect = parseNoProxy(readVariable(environment, 'NO_PROXY'));
  return {
    names: new Names({ timeoutMs: connectTimeoutMs }),
    tlsContexts: new TlsContexts(),
    connectTimeoutMs,
    idle: new IdleSockets(),
    // Parsed when it is needed, because an invalid proxy must not affect requests that do not use it.
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
  /** The pools are created when they are needed: a registry rarely needs more than one of the four. */
  readonly #agents = new Map<string, Agents>();

  /** `trusted` are hosts from the settings, with or without a port. */
  constructor(registry: Registry, trusted: readonly string[], shared: SharedPools) {
    this.#guard = new DialGuard(registry, trusted, shared.names);
    this.#connector = new Connector(registry, this.#guard, shared);
    this.#shared = shared;
  }

  /**
   * The pool depends on the URL, because a redirect can lead from a host that needs the proxy to one that does not.
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
    // With this option Node writes the whole URL and the credential of the proxy into each request.
    const proxyEnv = { HTTP_PROXY: proxyUrl(proxy) };
    return new DialledHttpAgent(idle, () => this.#connector.toProxy(proxy), { proxyEnv });
  }

  #dial(proxy: Proxy | undefined): Dial {
    return (to, tls) =>
      proxy === undefined ? this.#connector.direct(to, tls) : this.#connector.throughProxy(proxy, to, tls);
  }
}

/** Node documents that it returns whether the connection stays open, but its types declare no result. */
const { keepSocketAlive: decides } = HttpAgent.prototype as unknown as {
  keepSocketAlive: (this: HttpAgent, socket: Duplex) => boolean;
};

/** The connections that wait for their next request; the one that has been idle longest comes first. */
class IdleSockets {
  readonly #sockets = new Set<Duplex>();

  /** Lets the agent decide whether the connection stays open. If too many are idle, closes the one that has been idle longest. */
  keep(agent: HttpAgent, socket: Duplex): boolean {
    if (!decides.call(agent, socket)) return false;
    const [oldest] = this.#sockets;
    if (oldest !== undefined && this.#sockets.size >= MAX_IDLE_SOCKETS) oldest.destroy();
    this.#sockets.add(socket);
    setIdle(socket, true);
    return true;
  }

  /** Removes a connection that is used again or closed. */
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
  /** TLS sessions, with which a later connection to the same host needs no full handshake. */
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

/** Passes the socket to the callback of the agent, which waits for it if no socket is returned. */
function handOver(dialled: Promise<Socket>, idle: IdleSockets, callback: Connected | undefined): void {
  dialled.then(
    (socket) => {
      socket.once('close', () => {
        idle.remove(socket);
      });
      callback?.(null, socket);
    },
    // The types of Node require a socket also for a failed connection, but Node does not read it.
    (error: unknown) => callback?.(error as Error, undefined as never),
  );
}

function destinationOf({ host, port }: ClientRequestArgs): Destination {
  return { host: (host ?? '').replace(/^\[|\]$/g, ''), port: Number(port) };
}

/** Reads a variable as Go does: upper case first; an empty value counts as unset. */
export function readVariable(environment: ProxyVariables, name: string): string {
  return (
    [environment[name], environment[name.toLowerCase()]].find((value) => value !== undefined && value !== '') ?? ''
  );
}
