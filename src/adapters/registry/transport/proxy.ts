/** The proxy of the environment, and the ways through it to a host and port that the proxy looks up itself. */
import { request, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { SocksClient } from 'socks';
import { ConnectFault, connectTimeout } from '../upstream-errors.ts';

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
    throw new ConnectFault('ERR_INVALID_PROXY', 'the proxy is no http, https, socks5 or socks5h URL');
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
    late.reject(connectTimeout(`no answer of proxy ${authority(proxy)}`));
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

function authority({ host, port }: Destination): string {
  return `${host.includes(':') ? `[${host}]` : host}:${String(port)}`;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
