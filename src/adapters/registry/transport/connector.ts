/** Connects to the hosts of one registry: directly or through its proxy, with or without TLS, with a limit for each wait. */
import { createHash } from 'node:crypto';
import { connect, isIP, type Socket } from 'node:net';
import {
  connect as connectTls,
  type ConnectionOptions,
  createSecureContext,
  getCACertificates,
  type SecureContext,
  type TLSSocket,
} from 'node:tls';
import type { Registry } from '../../../domain/upstream.ts';
import { openForBypass } from '../bulk/parser-bypass.ts';
import { codeOf, ConnectFault } from '../upstream-errors.ts';
import type { DialGuard } from './dial-guard.ts';
import type { Names } from './names.ts';
import { authority, type Destination, type Proxy, tunnel } from './proxy.ts';

/** The parts that all registries of a process share. */
export interface Network {
  readonly names: Names;
  readonly tlsContexts: TlsContexts;
  /** The limit for each step: the lookup of the name, the connection (or the answer of the proxy), the TLS handshake. */
  readonly connectTimeoutMs: number;
}

/** The TLS options that Node's agents pass. */
export type TlsOptions = Pick<ConnectionOptions, 'servername' | 'session' | 'ALPNProtocols'>;

const TCP_OPTIONS = { noDelay: true, keepAlive: true, keepAliveInitialDelay: 1000 };
/** After this time the next address is tried while the previous ones have not answered. */
const HEAD_START_MS = 250;
/** The codes of the system for a failed connection. */
const WITHOUT_CONNECTION: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EADDRNOTAVAIL',
]);
/** The owner of a name can give it hundreds of addresses. */
const MAX_ADDRESSES = 8;
/** Each configured certificate is a trust anchor: an issuing CA or the certificate of the server itself, as in Go and curl. */
const TLS_OPTIONS = { minVersion: 'TLSv1.2', allowPartialTrustChain: true } as const;

export class Connector {
  readonly #registry: Registry;
  readonly #guard: DialGuard;
  readonly #network: Network;

  constructor(registry: Registry, guard: DialGuard, network: Network) {
    this.#registry = registry;
    this.#guard = guard;
    this.#network = network;
  }

  /** Connects without a proxy, to addresses that the guard allows. */
  async direct(to: Destination, tls?: TlsOptions): Promise<Socket> {
    const addresses = await this.#guard.addressesOf(to.host);
    const socket = await this.#dial(addresses, to, tls).catch((error: unknown) => {
      // The addresses are added only for a failed connection; a failed handshake has another reason.
      throw WITHOUT_CONNECTION.has(codeOf(error)) ? located(error, `no connection to ${addresses.join(', ')}`) : error;
    });
    this.#guard.connected(to.host, socket.remoteAddress ?? '');
    return socket;
  }

  /** Connects to the proxy itself, for requests that contain the whole URL. */
  async toProxy(proxy: Proxy): Promise<Socket> {
    // The proxy comes from the settings, so it may have any address.
    const addresses = isIP(proxy.host) === 0 ? (await this.#network.names.resolve(proxy.host)).addresses : [proxy.host];
    const servername = isIP(proxy.host) === 0 ? proxy.host : '';
    return this.#dial(addresses, proxy, proxy.kind === 'https' ? { servername } : undefined).catch((error: unknown) => {
      throw located(error, `at proxy ${authority(proxy)}`);
    });
  }

  /** Connects through the proxy, which looks the name up and has its own rules. */
  async throughProxy(proxy: Proxy, to: Destination, tls?: TlsOptions): Promise<Socket> {
    const { connectTimeoutMs } = this.#network;
    const socket = await this.toProxy(proxy);
    await tunnel(proxy, socket, to, connectTimeoutMs);
    if (tls === undefined) return socket;
    const secured = openForBypass(() => connectTls({ ...this.#tls(tls), host: to.host, socket }), true);
    secured.on('error', () => undefined);
    return this.#secured(secured, to.host).catch((error: unknown) => {
      // A proxy that inspects TLS presents its own certificate.
      throw located(error, `through proxy ${authority(proxy)}`);
    });
  }

  async #dial(addresses: readonly string[], { host, port }: Destination, tls?: TlsOptions): Promise<Socket> {
    const { connectTimeoutMs } = this.#network;
    if (tls === undefined) {
      const open = (address: string): Socket =>
        openForBypass((onread) => connect({ ...TCP_OPTIONS, ...onread, host: address, port }));
      return race(addresses, open, connectTimeoutMs);
    }
    const options = this.#tls(tls);
    const open = (address: string): TLSSocket =>
      openForBypass((onread) => connectTls({ ...options, ...TCP_OPTIONS, ...onread, host: address, port }));
    return this.#secured(await race(addresses, open, connectTimeoutMs), host);
  }

  #tls(options: TlsOptions): ConnectionOptions {
    const { ca, dialled } = this.#registry;
    return { ...options, secureContext: this.#network.tlsContexts.get(ca, dialled?.trustsCaAlone) };
  }

  /** Resolves after the TLS handshake. */
  async #secured(socket: TLSSocket, host: string): Promise<TLSSocket> {
    const { promise, resolve, reject } = Promise.withResolvers<undefined>();
    const timer = setTimeout(() => {
      reject(ConnectFault.timeout(`no TLS handshake with ${host}`));
    }, this.#network.connectTimeoutMs);
    const end = (): void => {
      reject(new ConnectFault('ECONNRESET', `${host} ended the connection before the TLS handshake`));
    };
    socket.once('secureConnect', resolve).once('error', reject).once('close', end);
    try {
      await promise;
      return socket;
    } catch (error) {
      socket.destroy();
      throw error;
    } finally {
      clearTimeout(timer);
      socket.off('secureConnect', resolve).off('error', reject).off('close', end);
    }
  }
}

/** Adds the place to an error. Errors of OpenSSL without a code stay unchanged. */
function located(error: unknown, where: string): unknown {
  const code = codeOf(error);
  if (code === 'UNSPECIFIED') return error;
  const what = error instanceof ConnectFault ? `${error.message}, ${where}` : where;
  return new ConnectFault(code, what, { cause: error });
}

/**
 * `open` begins to connect to an address. Resolves with the first socket that is connected and destroys the others.
 * Rejects with the error of the last address, since those of a family without a route fail first.
 */
export async function race<Made extends Socket>(
  addresses: readonly string[],
  open: (address: string) => Made,
  timeoutMs: number,
): Promise<Made> {
  const waiting = alternating(addresses).slice(0, MAX_ADDRESSES);
  const running = new Set<Made>();
  const { promise, resolve, reject } = Promise.withResolvers<Made>();
  let headStart: NodeJS.Timeout | undefined;
  const next = (): void => {
    clearTimeout(headStart);
    const address = waiting.shift();
    if (address === undefined) return;
    const socket = open(address);
    running.add(socket);
    socket.once('connect', () => {
      running.delete(socket);
      resolve(socket);
    });
    // The listener stays, because the other sockets are destroyed while they connect.
    socket.on('error', (error) => {
      if (!running.delete(socket)) return;
      if (waiting.length > 0) next();
      else if (running.size === 0) reject(error);
    });
    if (waiting.length > 0) headStart = setTimeout(next, HEAD_START_MS);
  };
  const bound = setTimeout(() => {
    reject(ConnectFault.timeout(`no connection to ${addresses.join(', ')}`));
  }, timeoutMs);
  try {
    next();
    return await promise;
  } finally {
    clearTimeout(bound);
    clearTimeout(headStart);
    waiting.length = 0;
    for (const socket of running) socket.destroy();
  }
}

/** Alternates between both address families, beginning with the family of the first address. */
function alternating(addresses: readonly string[]): string[] {
  const isV6 = (address: string): boolean => address.includes(':');
  const begins = isV6(addresses[0] ?? '');
  const [first, second] = [
    addresses.filter((address) => isV6(address) === begins),
    addresses.filter((address) => isV6(address) !== begins),
  ];
  return Array.from({ length: Math.max(first.length, second.length) }, (_, turn) => [first[turn], second[turn]])
    .flat()
    .filter((address) => address !== undefined);
}

/** TLS contexts, one for each set of CAs. Registries with the same set share it; it is freed when no connection uses it. */
export class TlsContexts {
  /** Weak references: sockets hold their context, a registry without connections does not. */
  readonly #contexts = new Map<string, WeakRef<SecureContext>>();
  readonly #freed = new FinalizationRegistry<string>((key) => {
    if (this.#contexts.get(key)?.deref() === undefined) this.#contexts.delete(key);
  });

  /** The number of contexts in memory; may include some that were freed recently. */
  get size(): number {
    return this.#contexts.size;
  }

  /** `ca` are PEM certificates that are trusted in addition to the default roots, or (`isAlone`) instead of them. */
  get(ca: readonly string[], isAlone = false): SecureContext {
    const anchors = [...new Set(ca)].sort();
    const key = `${String(isAlone)} ${createHash('sha256').update(anchors.join('\n')).digest('base64')}`;
    const known = this.#contexts.get(key)?.deref();
    if (known !== undefined) return known;
    const context = isAlone ? createSecureContext({ ...TLS_OPTIONS, ca: anchors }) : createContext(anchors);
    this.#contexts.set(key, new WeakRef(context));
    this.#freed.register(context, key);
    return context;
  }
}

/**
 * Adds `anchors` to the default roots, which OpenSSL parses once for the process. With the option `ca`, each context would
 * parse the roots again: 1.25 MiB and 30 ms instead of 40 KiB and 1 ms (Node 24.21).
 */
function createContext(anchors: readonly string[]): SecureContext {
  if (anchors.length === 0) return createSecureContext(TLS_OPTIONS);
  const context = createSecureContext(TLS_OPTIONS);
  const native = context.context as { addCACert?: (pem: string) => void };
  if (native.addCACert === undefined) {
    // Node does not document the method. If it is missing, the option has the same effect at a higher cost.
    return createSecureContext({ ...TLS_OPTIONS, ca: [...getCACertificates('default'), ...anchors] });
  }
  for (const anchor of anchors) native.addCACert(anchor);
  return context;
}
