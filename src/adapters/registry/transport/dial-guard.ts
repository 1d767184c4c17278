/** Decides to which addresses a registry may lead by a redirect, a realm or a DNS answer: public ones, and its own network. */
import { BlockList, isIP } from 'node:net';
import { dialledHost, type Registry } from '../../../domain/upstream.ts';
import type { Names } from './names.ts';

/** The zones, from the least to the most private. A registry in a zone may lead to this zone and to those before it. */
const ZONES: readonly BlockList[] = [
  // RFC 1918, RFC 6598, RFC 4193: private networks, including the services and pods of a cluster.
  zone('10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10', 'fc00::/7'),
  // This host, where the API server and etcd of a control plane listen.
  zone('0.0.0.0/8', '127.0.0.0/8', '::/127'),
  // RFC 3927, and the metadata services of clouds, which give credentials to each process.
  zone('169.254.0.0/16', 'fe80::/10', 'fd00:ec2::254/128', '100.100.100.200/32'),
];
/** The most private zone to which a DNS answer may lead: a private network. */
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
  /** The hosts from the settings. */
  readonly #trusted: ReadonlySet<string>;
  readonly #names: Names;
  /** The zone of the registry, from its configured address or from connections to it; later DNS answers do not change it. */
  #depth: number;

  /** `trusted` are hosts, with or without a port. */
  constructor(registry: Registry, trusted: readonly string[], names: Names) {
    const { scheme } = registry;
    this.#home = hostnameOf(`${scheme}://${dialledHost(registry)}`);
    this.#trusted = new Set([this.#home, ...trusted.map((name) => hostnameOf(`${scheme}://${name}`))]);
    this.#names = names;
    this.#depth = isIP(this.#home) === 0 ? 0 : depthOf(this.#home);
  }

  /** Checks a host that is an address; a name is checked after its lookup. @throws ForbiddenAddressError */
  check({ href }: URL): void {
    const host = hostnameOf(href);
    if (isIP(host) !== 0 && !this.#admits(host, host)) throw new ForbiddenAddressError();
  }

  /**
   * The allowed addresses of a host. Each connection uses the result of its own check, so that no other DNS answer is used.
   * Addresses, the hosts file and `localhost` count as configuration; an answer of a name server does not.
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

  /** Records that `host` was reached at `address`, with a valid certificate if it uses TLS. */
  connected(host: string, address: string): void {
    if (host === this.#home && isIP(address) !== 0) this.#depth = Math.max(this.#depth, depthOf(address));
  }

  #admits(host: string, address: string): boolean {
    return this.#trusted.has(host) || depthOf(address) <= this.#depth;
  }
}

/** 0 for a public address. */
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

/** The host without port and brackets; empty if the text is not a URL. */
function hostnameOf(url: string): string {
  return URL.parse(url)?.hostname.replace(/^\[|\]$/g, '') ?? '';
}
