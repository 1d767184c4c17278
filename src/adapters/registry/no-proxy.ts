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

/** Compares addresses, not their spelling: `2001:DB8:0::1` is `2001:db8::1`, `::ffff:192.0.2.7` is `192.0.2.7`. */
function network(address: string, prefix: number): (host: string) => boolean {
  const family = (ip: string): 'ipv4' | 'ipv6' => (isIP(ip) === 4 ? 'ipv4' : 'ipv6');
  const list = new BlockList();
  list.addSubnet(address, prefix, family(address));
  return (host) => isIP(host) !== 0 && list.check(host, family(host));
}

/** An address, or a name: `a.b` is it and all below it, `.a.b` and `*.a.b` only what is below it; each with or without port. */
function parseHost(entry: string): Rule {
  const [, bracketed, plain = '', port] = /^(?:\[(.+)\]|([^:]*))(?::(\d+))?$/.exec(entry) ?? [];
  const name = bracketed ?? (isIP(entry) === 6 ? entry : plain);
  const samePort = (target: Target): boolean => port === undefined || port === target.port;
  if (name === '') return () => false;
  if (isIP(name) !== 0) {
    const isIt = network(name, isIP(name) === 4 ? 32 : 128);
    return (target) => samePort(target) && isIt(target.host);
  }
  const suffix = name.replace(/^\*?\.?/, '.');
  const itself = suffix.slice(1) === name;
  return (target) => samePort(target) && (target.host.endsWith(suffix) || (itself && target.host === name));
}

function targetOf({ hostname, port, protocol }: URL): Target {
  return {
    host: hostname.toLowerCase().replace(/^\[|\]$/g, ''),
    port: port === '' ? (protocol === 'https:' ? '443' : '80') : port,
  };
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}
