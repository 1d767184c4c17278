/** The connections to one registry and to wherever it redirects: their certificates and their proxies. */
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createSecureContext, getCACertificates } from 'node:tls';
import type { Registry } from '../../domain/upstream.ts';
import type { DialGuard } from './dial-guard.ts';
import { Inflow } from './inflow.ts';
import { parseNoProxy } from './no-proxy.ts';

/** `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, in either case; others mean nothing here. */
export type ProxyVariables = Readonly<Record<string, string | undefined>>;

export interface Agents {
  readonly http: HttpAgent;
  readonly https: HttpsAgent;
}

/** Idle sockets, those of a registry that is no longer configured too, are closed after this. */
const IDLE_SOCKET_MS = 60_000;

/** Chooses by URL, since a redirect may lead from a host behind the proxy to one before it. */
export function createAgents(registry: Registry, guard: DialGuard, environment: ProxyVariables): (url: URL) => Agents {
  const isDirect = parseNoProxy(read(environment, 'NO_PROXY'));
  // One context for all connections: as `ca` of each request, 150 default roots would be a part of every pool's key.
  const secureContext = createSecureContext({
    ca: [...getCACertificates('default'), ...registry.ca],
    minVersion: 'TLSv1.2',
  });
  const options = { keepAlive: true, timeout: IDLE_SOCKET_MS };
  // A proxy looks names up itself, and has rules of its own.
  const { lookup } = guard;
  const direct = {
    http: new DirectHttpAgent({ ...options, lookup }),
    https: new DirectHttpsAgent({ ...options, lookup, secureContext }),
  };
  let proxied: Agents | undefined;
  return (url) => {
    if (isDirect(url)) return direct;
    // Not before it is needed: a proxy that cannot be used is no matter to those who do not use it.
    if (proxied === undefined) {
      const proxyEnv = {
        HTTP_PROXY: parseProxy(read(environment, 'HTTP_PROXY')),
        HTTPS_PROXY: parseProxy(read(environment, 'HTTPS_PROXY')),
      };
      proxied = {
        http: new HttpAgent({ ...options, proxyEnv }),
        https: new HttpsAgent({ ...options, proxyEnv, secureContext }),
      };
    }
    return proxied;
  };
}

type Connect = HttpAgent['createConnection'];

class DirectHttpAgent extends HttpAgent {
  override createConnection(...[options, callback]: Parameters<Connect>): ReturnType<Connect> {
    return withInflow((onread) => super.createConnection({ ...options, ...onread }, callback));
  }
}

class DirectHttpsAgent extends HttpsAgent {
  override createConnection(...[options, callback]: Parameters<Connect>): ReturnType<Connect> {
    return withInflow((onread) => super.createConnection({ ...options, ...onread }, callback));
  }
}

function withInflow(connect: (options: object) => Duplex | null | undefined): Duplex | null | undefined {
  const inflow = new Inflow();
  const socket = connect({ onread: inflow.onread });
  if (socket instanceof Socket) inflow.attach(socket);
  return socket;
}

/** As Go does: the upper case first, and what is empty is not set. */
function read(environment: ProxyVariables, name: string): string {
  return (
    [environment[name], environment[name.toLowerCase()]].find((value) => value !== undefined && value !== '') ?? ''
  );
}

/**
 * `host:port` is an http proxy to Go. Node would quietly go past it, and past a scheme that it does not know; the error
 * that it has for an unreadable one quotes the password.
 */
function parseProxy(text: string): string {
  if (text === '') return '';
  const url = URL.parse(text.includes('://') ? text : `http://${text}`);
  if (url !== null && ['http:', 'https:'].includes(url.protocol)) return url.href;
  throw Object.assign(new Error('proxy is not an http or https URL'), { code: 'ERR_INVALID_PROXY' });
}
