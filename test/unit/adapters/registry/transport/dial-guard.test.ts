import { expect } from 'chai';
import { DialGuard, ForbiddenAddressError } from '../../../../../src/adapters/registry/transport/dial-guard.ts';
import { type Addresses, Names } from '../../../../../src/adapters/registry/transport/names.ts';
import { parseUpstream } from '../../../../../src/domain/upstream.ts';
import { rejection } from '../../../../support/rejection.ts';

const PUBLIC = ['192.0.2.1', '172.32.0.1', '100.128.0.1', '[2001:db8::1]', '[::ffff:192.0.2.1]'];
const PRIVATE = ['10.0.0.1', '172.31.255.255', '192.168.1.1', '100.64.0.1', '[fd12::1]', '[::ffff:10.0.0.1]'];
const HOST = ['127.0.0.1', '127.9.9.9', '0.0.0.0', '[::1]', '[::]', '[::ffff:127.0.0.1]', '2130706433', '0x7f.1'];
const LINK_LOCAL = ['169.254.169.254', '[fe80::1]', '[fd00:ec2::254]', '100.100.100.200', '[::ffff:169.254.169.254]'];

/** One of each zone, from the open internet inward. */
const ZONES = ['192.0.2.1', '10.0.0.1', '127.0.0.1', '169.254.169.254'];

/** Names that a name server knows, or the hosts file. */
class KnownNames extends Names {
  readonly #known: Readonly<Record<string, Addresses>>;
  constructor(known: Readonly<Record<string, Addresses>>) {
    super({ timeoutMs: 1000 });
    this.#known = known;
  }
  override resolve(host: string): Promise<Addresses> {
    return Promise.resolve(this.#known[host] ?? { addresses: [], isLocal: false });
  }
}

const byDns = (...addresses: string[]): Addresses => ({ addresses, isLocal: false });
const byHosts = (...addresses: string[]): Addresses => ({ addresses, isLocal: true });

const NAMES = new KnownNames({
  'home.test': byDns(...ZONES),
  'listed.test': byHosts('127.0.0.1'),
  'all.test': byDns(...ZONES),
  'inside.test': byHosts(...ZONES),
  localhost: byHosts('::1', '127.0.0.1'),
});

function guardOf(host: string, ...trusted: string[]): DialGuard {
  return new DialGuard(parseUpstream({ repo: `${host}/a` }).registry, trusted, NAMES);
}

describe('DialGuard', () => {
  const rows: [home: string, address: string, admitted: string[], refused: string[]][] = [
    ['192.0.2.9', '192.0.2.9', PUBLIC, [...PRIVATE, ...HOST, ...LINK_LOCAL]],
    ['10.1.1.1:5000', '10.1.1.1', [...PUBLIC, ...PRIVATE], [...HOST, ...LINK_LOCAL]],
    ['127.0.0.1:5000', '127.0.0.1', [...PUBLIC, ...PRIVATE, ...HOST], LINK_LOCAL],
    ['localhost:5000', '::1', [...PUBLIC, ...PRIVATE, ...HOST], LINK_LOCAL],
    ['home.test', '192.0.2.1', PUBLIC, [...PRIVATE, ...HOST, ...LINK_LOCAL]],
    ['home.test', '10.0.0.1', [...PUBLIC, ...PRIVATE], [...HOST, ...LINK_LOCAL]],
  ];
  for (const [home, address, admitted, refused] of rows) {
    it(`lets a registry at ${home}, reached at ${address}, lead to what lies no deeper`, () => {
      const guard = guardOf(home);
      guard.connected(home.replace(/:\d+$/, ''), address);
      for (const host of admitted) guard.check(new URL(`http://${host}:1/x`));
      for (const host of refused) {
        expect(() => {
          guard.check(new URL(`https://${host}/x`));
        }, host).to.throw(ForbiddenAddressError);
      }
    });
  }

  it('learns the zone of a registry only from a connection to this registry', async () => {
    const guard = guardOf('home.test');
    guard.connected('other.test', '10.0.0.1');
    expect(() => {
      guard.check(new URL('http://10.0.0.1/'));
    }).to.throw(ForbiddenAddressError);
    expect(await guard.addressesOf('all.test')).to.deep.equal(['192.0.2.1']);
  });

  it('lets each registry lead to itself and to trusted token servers whose address is in the settings', async () => {
    const guard = guardOf('192.0.2.9', '10.0.0.7:8443', 'localhost');
    guard.check(new URL('https://10.0.0.7:8443/token'));
    expect(await guard.addressesOf('localhost')).to.deep.equal(['::1', '127.0.0.1']);
    const linkLocal = guardOf('169.254.1.1');
    linkLocal.check(new URL('http://169.254.1.1/v2/'));
    expect(await linkLocal.addressesOf('169.254.1.1')).to.deep.equal(['169.254.1.1']);
  });

  it('accepts no DNS answer with an address of this host or a metadata service, not even for the registry itself', async () => {
    for (const guard of [guardOf('home.test'), guardOf('192.0.2.9', 'home.test')]) {
      expect(await guard.addressesOf('home.test')).to.deep.equal(['192.0.2.1', '10.0.0.1']);
    }
    expect(await guardOf('listed.test').addressesOf('listed.test')).to.deep.equal(['127.0.0.1']);
  });

  it('does not show forbidden addresses', async () => {
    for (const host of ['localhost', 'listed.test', '10.0.0.1', 'nothing.test']) {
      expect(await rejection(guardOf('192.0.2.9').addressesOf(host)), host).to.be.instanceOf(ForbiddenAddressError);
    }
    expect(await guardOf('192.0.2.9').addressesOf('inside.test')).to.deep.equal(['192.0.2.1']);
    const inside = guardOf('listed.test');
    inside.connected('listed.test', '127.0.0.1');
    expect(await inside.addressesOf('inside.test')).to.deep.equal(['192.0.2.1', '10.0.0.1', '127.0.0.1']);
    expect(await inside.addressesOf('all.test')).to.deep.equal(['192.0.2.1', '10.0.0.1']);
  });
});
