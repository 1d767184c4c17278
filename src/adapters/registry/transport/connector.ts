/** Sockets to the hosts of one registry: directly or through its proxy, plain or with TLS, each wait bounded. */
import { connect, isIP, type Socket } from 'node:net';
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls';
import type { Registry } from '../../../domain/upstream.ts';
import { ConnectFault, connectTimeout } from './connect-fault.ts';
import type { DialGuard } from './dial-guard.ts';
import { Inflow } from '../bulk/inflow.ts';
import { Names } from './names.ts';
import { type Destination, type Proxy, tunnel } from './proxy.ts';
import { race } from './race.ts';
import { TlsContexts } from './tls-contexts.ts';

/** The parts that all registries of a process share. */
export interface Network {
  readonly names: Names;
  readonly tlsContexts: TlsContexts;
  /** For a name, for a connection (or a proxy's answer about one) and for a TLS handshake, each. */
  readonly connectTimeoutMs: number;
}

export function openNetwork(connectTimeoutMs: number): Network {
  return { names: new Names({ timeoutMs: connectTimeoutMs }), tlsContexts: new TlsContexts(), connectTimeoutMs };
}

/** As Node's agents make them for TLS. */
export type TlsOptions = Pick<ConnectionOptions, 'servername' | 'session' | 'ALPNProtocols'>;

const TCP_OPTIONS = { noDelay: true, keepAlive: true, keepAliveInitialDelay: 1000 };

export class Connector {
  readonly #registry: Registry;
  readonly #guard: DialGuard;
  readonly #network: Network;

  constructor(registry: Registry, guard: DialGuard, network: Network) {
    this.#registry = registry;
    this.#guard = guard;
    this.#network = network;
  }

  /** Past any proxy, to where the guard allows. */
  async direct(to: Destination, tls?: TlsOptions): Promise<Socket> {
    const addresses = await this.#guard.addressesOf(to.host);
    const socket = await this.#dial(addresses, to, tls);
    this.#guard.connected(to.host, socket.remoteAddress ?? '');
    return socket;
  }

  /** To the proxy itself, for requests that name their host. */
  async toProxy(proxy: Proxy): Promise<Socket> {
    // The settings name it, so it may be at any address.
    const addresses = isIP(proxy.host) === 0 ? (await this.#network.names.resolve(proxy.host)).addresses : [proxy.host];
    const servername = isIP(proxy.host) === 0 ? proxy.host : '';
    return this.#dial(addresses, proxy, proxy.kind === 'https' ? { servername } : undefined);
  }

  /** Through the proxy, which looks the name up and has rules of its own. */
  async throughProxy(proxy: Proxy, to: Destination, tls?: TlsOptions): Promise<Socket> {
    const { connectTimeoutMs } = this.#network;
    const socket = await this.toProxy(proxy);
    await tunnel(proxy, socket, to, connectTimeoutMs);
    if (tls === undefined) return socket;
    const secured = connectTls({ ...this.#tls(tls), host: to.host, socket });
    secured.on('error', () => undefined);
    new Inflow().intercept(secured);
    return this.#secured(secured, to.host);
  }

  async #dial(addresses: readonly string[], { host, port }: Destination, tls?: TlsOptions): Promise<Socket> {
    const { connectTimeoutMs } = this.#network;
    if (tls === undefined) {
      const open = (address: string): Socket =>
        withInflow((onread) => connect({ ...TCP_OPTIONS, ...onread, host: address, port }));
      return race(addresses, open, connectTimeoutMs);
    }
    const options = this.#tls(tls);
    const open = (address: string): TLSSocket =>
      withInflow((onread) => connectTls({ ...options, ...TCP_OPTIONS, ...onread, host: address, port }));
    return this.#secured(await race(addresses, open, connectTimeoutMs), host);
  }

  #tls(options: TlsOptions): ConnectionOptions {
    const { ca, dialled } = this.#registry;
    return { ...options, secureContext: this.#network.tlsContexts.get(ca, dialled?.trustsCaAlone) };
  }

  /** Behind the handshake. */
  async #secured(socket: TLSSocket, host: string): Promise<TLSSocket> {
    const { promise, resolve, reject } = Promise.withResolvers<undefined>();
    const timer = setTimeout(() => {
      reject(connectTimeout(`no TLS handshake with ${host}`));
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

function withInflow<Made extends Socket>(open: (options: object) => Made): Made {
  const inflow = new Inflow();
  const socket = open({ onread: inflow.onread });
  inflow.attach(socket);
  return socket;
}
