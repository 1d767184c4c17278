/** Where a registry may lead, by redirect, realm or DNS answer: to the open internet, and inside only to where it is itself. */
import { BlockList, isIP } from 'node:net';
import { dialledHost, type Registry } from '../../../domain/upstream.ts';
import type { Names } from './names.ts';

/** From the less to the more private ones. A registry in one of them may lead there, and to those before it. */
const ZONES: readonly BlockList[] = [
  // RFC 1918, RFC 6598, RFC 4193: among them the services and pods of a cluster.
  zone('10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10', 'fc00::/7'),
  // This host, on whose network the API server and etcd of a control plane listen.
  zone('0.0.0.0/8', '127.0.0.0/8', '::/127'),
  // RFC 3927, and the addresses at which clouds give credentials to each process that asks.
  zone('169.254.0.0/16', 'fe80::/10', 'fd00:ec2::254/128', '100.100.100.200/32'),
];
/** The deepest network to which a name server may lead a connection: a private one. */
const MAX_DEPTH_BY_DNS = 1;

export class ForbiddenAddressError extends Error {
  override readonly name = 'ForbiddenAddressError';
  readonly code = 'ERR_FORBIDDEN_ADDRESS';
  constructor() {
    super('host has an internal address that is not allowed for it');
  }
}

export class DialGuard {
  readonly #home: string;
  /** Hosts that the settings name. */
  readonly #trusted: ReadonlySet<string>;
  readonly #names: Names;
  /** How deep the registry is: by its own address, or by the connections to it; never by what DNS says meanwhile. */
  #depth: number;

  /** `trusted` are hosts, with or without a port. */
  constructor(registry: Registry, trusted: readonly string[], names: Names) {
    const { scheme } = registry;
    this.#home = hostnameOf(`${scheme}://${dialledHost(registry)}`);
    this.#trusted = new Set([this.#home, ...trusted.map((name) => hostnameOf(`${scheme}://${name}`))]);
    this.#names = names;
    this.#depth = isIP(this.#home) === 0 ? 0 : depthOf(this.#home);
  }

  /** Nothing is known of a name before it is looked up. @throws ForbiddenAddressError for a host that is an address */
  check({ href }: URL): void {
    const host = hostnameOf(href);
    if (isIP(host) !== 0 && !this.#admits(host, host)) throw new ForbiddenAddressError();
  }

  /**
   * The addresses of a host that may be dialled: for each connection, so that no later answer can differ. An address, the
   * hosts file and `localhost` are words of the configuration; a name server is not.
   */
  async addressesOf(host: string): Promise<readonly string[]> {
    const { addresses, isLocal } =
      isIP(host) === 0 ? await this.#names.resolve(host) : { addresses: [host], isLocal: true };
    const admitted = addresses.filter(
      (address) => this.#admits(host, address) && (isLocal || depthOf(address) <= MAX_DEPTH_BY_DNS),
    );
    if (admitted.length === 0) throw new ForbiddenAddressError();
    return admitted;
  }

  /** `host` was reached at `address`, and its certificate was good if it has one. */
  connected(host: string, address: string): void {
    if (host === this.#home && isIP(address) !== 0) this.#depth = Math.max(this.#depth, depthOf(address));
  }

  #admits(host: string, address: string): boolean {
    return this.#trusted.has(host) || depthOf(address) <= this.#depth;
  }
}

/** 0 for the open internet. */
function depthOf(address: string): number {
  return 1 + ZONES.findLastIndex((addresses) => addresses.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4'));
}

function zone(...subnets: readonly string[]): BlockList {
  const addresses = new BlockList();
  for (const subnet of subnets) {
    const [address = '', prefix] = subnet.split('/');
    addresses.addSubnet(address, Number(prefix), isIP(address) === 6 ? 'ipv6' : 'ipv4');
  }
  return addresses;
}

/** Without a port and brackets; empty for a text that is no URL. */
function hostnameOf(url: string): string {
  return URL.parse(url)?.hostname.replace(/^\[|\]$/g, '') ?? '';
}
