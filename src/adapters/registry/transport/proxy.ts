/** The proxy of the environment, the hosts that are reached without it, and the ways through it to a host that it looks up itself. */
import { request, type IncomingMessage } from 'node:http';
import { BlockList, isIP, type Socket } from 'node:net';
import { ConnectFault } from '../upstream-errors.ts';

export interface Proxy {
  readonly kind: 'http' | 'https' | 'socks';
  /** Without brackets. */
  readonly host: string;
  readonly port: number;
  readonly username: string;
  readonly password: string;
}

export interface Destination {
  /** Without brackets. */
  readonly host: string;
  readonly port: number;
}

/** Schemes as Go takes them; a SOCKS proxy of Go looks names up itself under either of its schemes. */
const KINDS = new Map<string, readonly [kind: Proxy['kind'], port: number]>([
  ['http:', ['http', 80]],
  ['https:', ['https', 443]],
  ['socks5:', ['socks', 1080]],
  ['socks5h:', ['socks', 1080]],
]);

/**
 * `host:port` is an http proxy to Go; undefined for an empty text. The error for an unreadable one holds nothing of it: it
 * may have a password.
 */
export function parseProxy(text: string): Proxy | undefined {
  if (text === '') return undefined;
  const url = URL.parse(text.includes('://') ? text : `http://${text}`);
  const [kind, defaultPort] = KINDS.get(url?.protocol ?? '') ?? [];
  if (url === null || kind === undefined || defaultPort === undefined || url.hostname === '') {
    throw new ConnectFault('ERR_INVALID_PROXY', 'the proxy is not an http, https, socks5 or socks5h URL');
  }
  return {
    kind,
    host: url.hostname.toLowerCase().replace(/^\[|\]$/g, ''),
    port: url.port === '' ? defaultPort : Number(url.port),
    username: decoded(url.username),
    password: decoded(url.password),
  };
}

/** For the environment of Node's agent; it holds the password. */
export function proxyUrl({ kind, host, port, username, password }: Proxy): string {
  const user =
    username === '' && password === '' ? '' : `${encodeURIComponent(username)}:${encodeURIComponent(password)}@`;
  return `${kind}://${user}${authority({ host, port })}`;
}

/** `socket` is connected to the proxy; resolves when it leads to the destination, and destroys it otherwise. */
export async function tunnel(proxy: Proxy, socket: Socket, to: Destination, timeoutMs: number): Promise<void> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    late.reject(ConnectFault.timeout(`no answer of proxy ${authority(proxy)}`));
  }, timeoutMs);
  try {
    const opened = proxy.kind === 'socks' ? askSocks(proxy, socket, to) : askHttp(proxy, socket, to);
    await Promise.race([opened, late.promise]);
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** RFC 9110, section 9.3.6. */
async function askHttp(proxy: Proxy, socket: Socket, to: Destination): Promise<void> {
  const { username, password } = proxy;
  const credential = Buffer.from(`${username}:${password}`).toString('base64');
  const connect = request({
    method: 'CONNECT',
    path: authority(to),
    createConnection: () => socket,
    headers: {
      host: authority(to),
      ...(username !== '' && { 'proxy-authorization': `Basic ${credential}` }),
    },
  });
  const { statusCode = 0 } = await new Promise<IncomingMessage>((resolve, reject) => {
    connect.once('connect', (response: IncomingMessage, _socket: Socket, head: Buffer) => {
      const isEarly = response.statusCode === 200 && head.byteLength > 0;
      if (isEarly)
        reject(new ConnectFault('ERR_PROXY_ANSWER', `proxy ${authority(proxy)} sent bytes before a handshake`));
      else resolve(response);
    });
    // Stays: it may fail behind its answer.
    connect.on('error', reject);
    connect.end();
  });
  if (statusCode >= 200 && statusCode < 300) return;
  throw refusal(
    proxy,
    `answered CONNECT by ${String(statusCode)}`,
    statusCode >= 500 || [408, 429].includes(statusCode),
  );
}

/** The answers of RFC 1928, section 6, for a destination that may come back, in the words of the library. */
const PASSING_SOCKS_ANSWERS = /Failure|NetworkUnreachable|HostUnreachable|ConnectionRefused|TTLExpired/;

/** RFC 1928 and 1929. */
async function askSocks(proxy: Proxy, socket: Socket, to: Destination): Promise<void> {
  const { host, port, username, password } = proxy;
  const credential = username === '' ? {} : { userId: username, password };
  // Few environments have a SOCKS proxy.
  const { SocksClient } = await import('socks');
  try {
    await SocksClient.createConnection({
      proxy: { host, port, type: 5, ...credential },
      command: 'connect',
      destination: to,
      existing_socket: socket,
    });
  } catch (error) {
    // The library's error holds its options, and these the password.
    const what = error instanceof Error ? error.message : 'unknown error';
    throw refusal(proxy, `refused: ${what}`, PASSING_SOCKS_ANSWERS.test(what) || what === 'Socket closed');
  }
}

/** A proxy that does not reach its destination for now is to a request what a refused connection is. */
function refusal(proxy: Proxy, what: string, isPassing: boolean): ConnectFault {
  return new ConnectFault(isPassing ? 'ECONNREFUSED' : 'ERR_PROXY_REFUSED', `proxy ${authority(proxy)} ${what}`);
}

export function authority({ host, port }: Destination): string {
  return `${host.includes(':') ? `[${host}]` : host}:${String(port)}`;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
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
