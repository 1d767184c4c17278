/** Which hosts are reached directly although a proxy is set: NO_PROXY as Go tools read it (golang.org/x/net/http/httpproxy). */
import { BlockList, isIP } from 'node:net';

/** A predicate over URLs of requests. */
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
