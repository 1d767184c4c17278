import { expect } from 'chai';
import type { LookupAddress, LookupOptions } from 'node:dns';
import { DialGuard, ForbiddenAddressError } from '../../../../src/adapters/registry/dial-guard.ts';
import { parseUpstream } from '../../../../src/domain/upstream.ts';
import { rejection } from '../../../support/rejection.ts';

const PUBLIC = ['192.0.2.1', '172.32.0.1', '100.128.0.1', '[2001:db8::1]', '[::ffff:192.0.2.1]'];
const PRIVATE = ['10.0.0.1', '172.31.255.255', '192.168.1.1', '100.64.0.1', '[fd12::1]', '[::ffff:10.0.0.1]'];
const HOST = ['127.0.0.1', '127.9.9.9', '0.0.0.0', '[::1]', '[::]', '[::ffff:127.0.0.1]', '2130706433', '0x7f.1'];
const LINK_LOCAL = ['169.254.169.254', '[fe80::1]', '[fd00:ec2::254]', '100.100.100.200', '[::ffff:169.254.169.254]'];

function guardOf(host: string, ...trusted: string[]): DialGuard {
  return new DialGuard(parseUpstream({ repo: `${host}/a` }).registry, trusted);
}

function lookup(guard: DialGuard, host: string, options: LookupOptions = {}): Promise<string | LookupAddress[]> {
  return new Promise((resolve, reject) => {
    guard.lookup(host, options, (error, found) => {
      if (error === null) resolve(found);
      else reject(error);
    });
  });
}

describe('DialGuard', () => {
  const rows: [home: string, admitted: string[], refused: string[]][] = [
    ['192.0.2.9', PUBLIC, [...PRIVATE, ...HOST, ...LINK_LOCAL]],
    ['10.1.1.1:5000', [...PUBLIC, ...PRIVATE], [...HOST, ...LINK_LOCAL]],
    ['127.0.0.1:5000', [...PUBLIC, ...PRIVATE, ...HOST], LINK_LOCAL],
    ['localhost:5000', [...PUBLIC, ...PRIVATE, ...HOST], LINK_LOCAL],
  ];
  for (const [home, admitted, refused] of rows) {
    it(`lets a registry at ${home} lead to what lies no deeper than itself`, async () => {
      const guard = guardOf(home);
      for (const host of admitted) await guard.check(new URL(`http://${host}:1/x`));
      for (const host of refused) {
        expect(await rejection(guard.check(new URL(`https://${host}/x`))), host).to.be.instanceOf(
          ForbiddenAddressError,
        );
      }
    });
  }

  it('lets everybody lead to the registry and to trusted token servers, wherever they are', async () => {
    const guard = guardOf('192.0.2.9', '10.0.0.7:8443', 'localhost');
    await guard.check(new URL('https://10.0.0.7:8443/token'));
    expect(await lookup(guard, 'localhost')).to.match(/^127\.|^::1$/);
    await guardOf('169.254.1.1').check(new URL('http://169.254.1.1/v2/'));
  });

  it('looks a name up, and keeps the addresses to itself that must not be dialled', async () => {
    expect(await rejection(lookup(guardOf('192.0.2.9'), 'localhost'))).to.be.instanceOf(ForbiddenAddressError);
    const inside = guardOf('127.0.0.1');
    expect(await lookup(inside, 'localhost')).to.match(/^127\.|^::1$/);
    expect(await lookup(inside, 'localhost', { all: true })).to.deep.include({ address: '127.0.0.1', family: 4 });
    expect(await rejection(lookup(inside, 'name.invalid'))).to.have.property('code', 'ENOTFOUND');
  });
});
