/** Parses the proxy and NO_PROXY of the environment, and connects through HTTP and SOCKS proxies. */
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

/** The schemes that Go accepts. As in Go, a SOCKS proxy looks names up itself, with either of its two schemes. */
const KINDS = new Map<string, readonly [kind: Proxy['kind'], port: number]>([
  ['http:', ['http', 80]],
  ['https:', ['https', 443]],
  ['socks5:', ['socks', 1080]],
  ['socks5h:', ['socks', 1080]],
]);

/**
 * `host:port` means an http proxy, as in Go; undefined for an empty text. The error for an invalid text does not contain it,
 * because it can have a password.
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

/** The URL for the environment of Node's agent; it contains the password. */
export function proxyUrl({ kind, host, port, username, password }: Proxy): string {
  const user =
    username === '' && password === '' ? '' : `${encodeURIComponent(username)}:${encodeURIComponent(password)}@`;
  return `${kind}://${user}${authority({ host, port })}`;
}

/** Connects `socket`, which is connected to the proxy, to the destination; destroys it if that fails. */
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

/** Sends CONNECT (RFC 9110, section 9.3.6). */
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
    // The listener stays, because an error can come after the answer.
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

/** The names that the library uses for temporary failures of a destination (RFC 1928, section 6). */
const PASSING_SOCKS_ANSWERS = /Failure|NetworkUnreachable|HostUnreachable|ConnectionRefused|TTLExpired/;

/** Connects by SOCKS (RFC 1928 and RFC 1929). */
async function askSocks(proxy: Proxy, socket: Socket, to: Destination): Promise<void> {
  const { host, port, username, password } = proxy;
  const credential = username === '' ? {} : { userId: username, password };
  // Loaded only when it is needed, because few environments have a SOCKS proxy.
  const { SocksClient } = await import('socks');
  try {
    await SocksClient.createConnection({
      proxy: { host, port, type: 5, ...credential },
      command: 'connect',
      destination: to,
      existing_socket: socket,
    });
  } catch (error) {
    // The error of the library contains its options with the password, so only its message is used.
    const what = error instanceof Error ? error.message : 'unknown error';
    throw refusal(proxy, `refused: ${what}`, PASSING_SOCKS_ANSWERS.test(what) || what === 'Socket closed');
  }
}

/** The error of a proxy that refuses. A temporary failure to reach the destination counts as a refused connection. */
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

/** Returns a function that tells which URLs need no proxy: NO_PROXY as in Go (golang.org/x/net/http/httpproxy). */
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
 * Compares addresses, not their spelling: `2001:DB8:0::1` is `2001:db8::1`. `::ffff:192.0.2.7` is `192.0.2.7`, which is in
 * no IPv6 network.
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

/** Also true for an IPv4-mapped IPv6 address. */
function isIPv4(address: string): boolean {
  return MAPPED.check(address, familyOf(address));
}

/** An address or a name, with or without a port. `a.b` includes its subdomains; `.a.b` and `*.a.b` mean only subdomains. */
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
