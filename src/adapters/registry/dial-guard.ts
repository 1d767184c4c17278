/** Where a registry may send us, by redirect, realm or DNS answer: to the open internet, and inside only to where it lives itself. */
import { lookup, type LookupAddress, promises as dns } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';
import type { Registry } from '../../domain/upstream.ts';

/** From the less to the more private ones. Who lives in one of them may send us there, and to those before it. */
const ZONES: readonly BlockList[] = [
  // RFC 1918, RFC 6598, RFC 4193: among them the services and pods of a cluster.
  zone('10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10', 'fc00::/7'),
  // This host, on whose network the API server and etcd of a control plane listen.
  zone('0.0.0.0/8', '127.0.0.0/8', '::/127'),
  // RFC 3927, and the addresses at which clouds give credentials to whoever asks.
  zone('169.254.0.0/16', 'fe80::/10', 'fd00:ec2::254/128', '100.100.100.200/32'),
];

export class ForbiddenAddressError extends Error {
  override readonly name = 'ForbiddenAddressError';
  readonly code = 'ERR_FORBIDDEN_ADDRESS';
  constructor() {
    super('registry leads to an address that only somebody inside would name');
  }
}

export class DialGuard {
  readonly #home: string;
  /** Named by the settings, so wherever they are. */
  readonly #trusted: ReadonlySet<string>;

  /** `trusted` are hosts, with or without a port. */
  constructor({ scheme, host }: Registry, trusted: readonly string[]) {
    this.#home = hostnameOf(`${scheme}://${host}`);
    this.#trusted = new Set([this.#home, ...trusted.map((name) => hostnameOf(`${scheme}://${name}`))]);
  }

  /** Rejects with ForbiddenAddressError for a host that is an address; of a name, nothing is known yet. */
  async check({ href }: URL): Promise<void> {
    const host = hostnameOf(href);
    if (isIP(host) === 0 || this.#trusted.has(host)) return;
    if ((await this.#admitted([{ address: host, family: isIP(host) }])).length === 0) throw new ForbiddenAddressError();
  }

  /** As `dns.lookup`, without the addresses that must not be dialled: at connect, so that no later answer can differ. */
  readonly lookup: LookupFunction = (host, options, callback) => {
    if (this.#trusted.has(host)) {
      lookup(host, options, callback);
      return;
    }
    void this.#resolve(host, options).then(
      (found) => {
        const [first] = found;
        if (first === undefined) callback(new ForbiddenAddressError(), '');
        else if (options.all === true) callback(null, found);
        else callback(null, first.address, first.family);
      },
      (error: unknown) => {
        callback(error as Error, '');
      },
    );
  };

  async #resolve(host: string, options: Parameters<LookupFunction>[1]): Promise<LookupAddress[]> {
    return this.#admitted(await dns.lookup(host, { ...options, all: true }));
  }

  async #admitted(found: LookupAddress[]): Promise<LookupAddress[]> {
    if (found.every(({ address }) => depthOf(address) === 0)) return found;
    // Asked only here: nearly everything that registries lead to is public.
    const home = await dns.lookup(this.#home, { all: true }).catch(() => []);
    const deepest = Math.max(0, ...home.map(({ address }) => depthOf(address)));
    return found.filter(({ address }) => depthOf(address) <= deepest);
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

/** Without a port and brackets; what is no URL is nobody's host. */
function hostnameOf(url: string): string {
  return URL.parse(url)?.hostname.replace(/^\[|\]$/g, '') ?? '';
}
