/** The pools of connections to one registry and to the hosts that it redirects to, directly or through a proxy. */
import { Agent as HttpAgent, type AgentOptions, type ClientRequestArgs } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { BlockList, isIP, type Socket } from 'node:net';
import type { Registry } from '../../../domain/upstream.ts';
import { Connector, type Network, type TlsOptions } from './connector.ts';
import type { DialGuard } from './dial-guard.ts';
import { type Destination, parseProxy, type Proxy, proxyUrl } from './proxy.ts';

/** `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, in either case; others mean nothing here. */
export type ProxyVariables = Readonly<Record<string, string | undefined>>;

export interface Agents {
  readonly http: HttpAgent;
  readonly https: HttpsAgent;
}

/** Idle sockets are closed after this, also those of a registry that is no longer configured. */
const IDLE_SOCKET_MS = 60_000;
/** To one host: three quarters of the most parallel downloads that can be set, and 64 for manifests and tokens. */
const MAX_SOCKETS = 256;
const OPTIONS: AgentOptions = { keepAlive: true, timeout: IDLE_SOCKET_MS, maxSockets: MAX_SOCKETS };
/** TLS sessions that are kept for later connections of one registry. */
const MAX_SESSIONS = 100;

/** Chooses by URL, since a redirect may lead from a host behind the proxy to one before it. */
export function createAgents(
  registry: Registry,
  guard: DialGuard,
  network: Network,
  environment: ProxyVariables,
): (url: URL) => Agents {
  const isDirect = parseNoProxy(read(environment, 'NO_PROXY'));
  const connector = new Connector(registry, guard, network);
  const direct = {
    http: new DialledHttpAgent(OPTIONS, (to) => connector.direct(to)),
    https: new DialledHttpsAgent(OPTIONS, (to, tls) => connector.direct(to, tls)),
  };
  let proxied: Agents | undefined;
  return (url) => {
    if (isDirect(url)) return direct;
    // Not before it is needed: a proxy that cannot be used is no matter to requests that do not use it.
    proxied ??= createProxiedAgents(connector, direct, environment);
    return proxied;
  };
}

function createProxiedAgents(connector: Connector, direct: Agents, environment: ProxyVariables): Agents {
  const forHttp = parseProxy(read(environment, 'HTTP_PROXY'));
  const forHttps = parseProxy(read(environment, 'HTTPS_PROXY'));
  const https = (proxy: Proxy): HttpsAgent =>
    new DialledHttpsAgent(OPTIONS, (to, tls) => connector.throughProxy(proxy, to, tls));
  return {
    http: forHttp === undefined ? direct.http : createHttpAgent(connector, forHttp),
    https: forHttps === undefined ? direct.https : https(forHttps),
  };
}

function createHttpAgent(connector: Connector, proxy: Proxy): HttpAgent {
  if (proxy.kind === 'socks') return new DialledHttpAgent(OPTIONS, (to) => connector.throughProxy(proxy, to));
  // Node writes the whole URL and the proxy's credential into each request.
  const proxyEnv = { HTTP_PROXY: proxyUrl(proxy) };
  return new DialledHttpAgent({ ...OPTIONS, proxyEnv }, () => connector.toProxy(proxy));
}

type Connect = HttpAgent['createConnection'];
type Connected = NonNullable<Parameters<Connect>[1]>;

class DialledHttpAgent extends HttpAgent {
  readonly #dial: (to: Destination) => Promise<Socket>;

  constructor(options: AgentOptions, dial: (to: Destination) => Promise<Socket>) {
    super(options);
    this.#dial = dial;
  }

  override createConnection(...[options, callback]: Parameters<Connect>): undefined {
    handOver(this.#dial(destinationOf(options)), callback);
  }
}

class DialledHttpsAgent extends HttpsAgent {
  readonly #dial: (to: Destination, tls: TlsOptions) => Promise<Socket>;
  /** A later connection to the same host goes without a full handshake. */
  readonly #sessions = new Map<string, Buffer>();

  constructor(options: AgentOptions, dial: (to: Destination, tls: TlsOptions) => Promise<Socket>) {
    super(options);
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
    handOver(dialled, callback);
    dialled.then(
      (socket) => {
        socket.on('session', (ticket: Buffer) => {
          this.#remember(key, ticket);
        });
      },
      () => {
        this.#sessions.delete(key);
      },
    );
  }

  #remember(key: string, session: Buffer): void {
    const [oldest] = this.#sessions.keys();
    if (oldest !== undefined && this.#sessions.size >= MAX_SESSIONS) this.#sessions.delete(oldest);
    this.#sessions.set(key, session);
  }
}

/** An agent waits for its callback when it is given no socket at once. */
function handOver(dialled: Promise<Socket>, callback: Connected | undefined): void {
  dialled.then(
    (socket) => callback?.(null, socket),
    // Node declares the socket of a failed connection, and reads none.
    (error: unknown) => callback?.(error as Error, undefined as never),
  );
}

function destinationOf({ host, port }: ClientRequestArgs): Destination {
  return { host: (host ?? '').replace(/^\[|\]$/g, ''), port: Number(port) };
}

/** As Go does: the upper case first, and what is empty is not set. */
function read(environment: ProxyVariables, name: string): string {
  return (
    [environment[name], environment[name.toLowerCase()]].find((value) => value !== undefined && value !== '') ?? ''
  );
}

/** Which URLs are reached directly: NO_PROXY as Go tools read it (golang.org/x/net/http/httpproxy). */
export function parseNoProxy(noProxy: string): (url: URL) => boolean {
  const rules = noProxy
    .split(',')
    .map((entry) => entry.trim().toLowerCase())
    .filter((entry) => entry !== '')
    .map(parseRule);
  return (url) => {
    const target = targetOf(url);
    return isLoopback(target.host) || rules.some((matches) => matches(target));
  };
}

interface Target {
  /** In lower case; an IPv6 address without brackets. */
  readonly host: string;
  readonly port: string;
}

type Rule = (target: Target) => boolean;

function parseRule(entry: string): Rule {
  if (entry === '*') return () => true;
  return parseNetwork(entry) ?? parseHost(entry);
}

/** `10.0.0.0/8`, `fd00::/8` */
function parseNetwork(entry: string): Rule | undefined {
  const [address = '', prefix = '', ...rest] = entry.split('/');
  const bits = isIP(address) === 4 ? 32 : 128;
  if (rest.length > 0 || isIP(address) === 0 || !/^\d{1,3}$/.test(prefix)) return undefined;
  if (Number(prefix) > bits) return () => false;
  const isInside = network(address, Number(prefix));
  return ({ host }) => isInside(host);
}

/**
 * Compares addresses, not their spelling: `2001:DB8:0::1` is `2001:db8::1`, and `::ffff:192.0.2.7` is `192.0.2.7`, which
 * no network of IPv6 holds.
 */
function network(address: string, prefix: number): (host: string) => boolean {
  const list = new BlockList();
  list.addSubnet(address, prefix, familyOf(address));
  const holdsIPv4 = isIP(address) === 4 || (prefix >= 96 && isIPv4(address));
  return (host) => isIP(host) !== 0 && isIPv4(host) === holdsIPv4 && list.check(host, familyOf(host));
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIP(address) === 4 ? 'ipv4' : 'ipv6';
}

const MAPPED = new BlockList();
MAPPED.addSubnet('::ffff:0:0', 96, 'ipv6');

/** In either spelling. */
function isIPv4(address: string): boolean {
  return MAPPED.check(address, familyOf(address));
}

/** An address, or a name: `a.b` is it and all below it, `.a.b` and `*.a.b` only what is below it; each with or without port. */
function parseHost(entry: string): Rule {
  const split = isIP(entry) === 6 ? null : /^(?:\[(.+)\]|([^:]*)):(\d*)$/.exec(entry);
  const name = split?.[1] ?? split?.[2] ?? entry;
  const port = split?.[3] ?? '';
  const samePort = (target: Target): boolean => port === '' || port === target.port;
  if (name === '') return () => false;
  if (isIP(name) !== 0) {
    const isIt = network(name, isIP(name) === 4 ? 32 : 128);
    return (target) => samePort(target) && isIt(target.host);
  }
  const below = name.replace(/^\*(?=\.)/, '');
  const suffix = below.startsWith('.') ? below : `.${below}`;
  return (target) =>
    samePort(target) && isIP(target.host) === 0 && (target.host.endsWith(suffix) || target.host === below);
}

function targetOf({ hostname, port, protocol }: URL): Target {
  return {
    host: hostname.toLowerCase().replace(/^\[|\]$/g, ''),
    port: port === '' ? (protocol === 'https:' ? '443' : '80') : port,
  };
}

const isLoopbackAddress = network('127.0.0.0', 8);

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || isLoopbackAddress(host);
}
