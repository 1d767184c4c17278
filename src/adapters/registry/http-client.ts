/** HTTP to one registry: its connections, its certificates, bounded waits, and patience before the first byte. */
import got, { type Got, type PlainResponse } from 'got';
import { Agent as HttpAgent, type IncomingHttpHeaders } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { createSecureContext, getCACertificates } from 'node:tls';
import type { Registry } from '../../domain/upstream.ts';
import { readAtMost } from './body.ts';
import { parseNoProxy, type ProxyVariables } from './no-proxy.ts';
import { parseRetryAfter } from './retry-after.ts';
import { type Asked, codeOf, failure, statusError } from './upstream-errors.ts';

export interface HttpSettings {
  readonly connectTimeoutMs: number;
  readonly headersTimeoutMs: number;
  /** Without a byte of a body. */
  readonly idleTimeoutMs: number;
  /** Of one request, until its headers are there. */
  readonly attempts: number;
  readonly userAgent: string;
  /** `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, in either case. */
  readonly environment: ProxyVariables;
}

export interface HttpRequest {
  readonly asked: Asked;
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  /** Sent by POST. */
  readonly form?: Readonly<Record<string, string>>;
}

export interface HttpResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** To be read or destroyed by whoever asked. */
  readonly body: Readable;
}

const MAX_REDIRECTS = 5;
const MAX_ERROR_BYTES = 4096;
/** Idle sockets, those of a registry that is no longer configured too, are closed after this. */
const IDLE_SOCKET_MS = 60_000;
/** A client waits 10 s for its first byte; whoever asks for more patience than this is answered to the client. */
const MAX_WAIT_SECONDS = 3;
const BASE_BACKOFF_MS = 200;
const RETRIED_STATUSES: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504]);
/** Passing by nature. A time-out is not among them: another one would outlast the client. */
const RETRIED_CODES: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'EAI_AGAIN',
  'ENETUNREACH',
  'EHOSTUNREACH',
]);

export class HttpClient {
  readonly #settings: HttpSettings;
  readonly #got: Got;

  constructor(registry: Registry, settings: HttpSettings) {
    this.#settings = settings;
    const agents = createAgents(registry, settings.environment);
    const { connectTimeoutMs, headersTimeoutMs, userAgent } = settings;
    this.#got = got.extend({
      // Content is addressed by the digest of its bytes as they are stored: they must arrive as they are.
      decompress: false,
      headers: { 'user-agent': userAgent, 'accept-encoding': 'identity' },
      throwHttpErrors: false,
      retry: { limit: 0 },
      maxRedirects: MAX_REDIRECTS,
      timeout: {
        lookup: connectTimeoutMs,
        connect: connectTimeoutMs,
        secureConnect: connectTimeoutMs,
        response: headersTimeoutMs,
      },
      hooks: {
        beforeRequest: [
          (options) => {
            if (options.url instanceof URL) options.agent = agents(options.url);
          },
        ],
        beforeRedirect: [
          ({ url }, response) => {
            if (new URL(response.url).protocol === 'https:' && !(url instanceof URL && url.protocol === 'https:')) {
              throw Object.assign(new Error('redirect from https to http'), { code: 'ERR_INSECURE_REDIRECT' });
            }
          },
        ],
      },
    });
  }

  /** The first answer that is not worth another try. Rejects with domain errors when there is none. */
  async send(request: HttpRequest, signal: AbortSignal): Promise<HttpResponse> {
    for (let attempt = 1; ; attempt++) {
      const outcome = await this.#exchange(request, signal).catch((error: unknown) => ({ error }));
      const last = attempt >= this.#settings.attempts;
      if ('error' in outcome) {
        const retried = !last && !signal.aborted && RETRIED_CODES.has(codeOf(outcome.error));
        if (!retried) throw failure(request.asked, outcome.error, signal);
        await this.#pause(request.asked, backoffMs(attempt), signal);
      } else if (RETRIED_STATUSES.has(outcome.status)) {
        const retryAfter = parseRetryAfter(outcome.headers['retry-after'], new Date());
        if (last || (retryAfter ?? 0) > MAX_WAIT_SECONDS) throw await this.reject(request.asked, outcome);
        outcome.body.destroy();
        await this.#pause(request.asked, retryAfter === undefined ? backoffMs(attempt) : retryAfter * 1000, signal);
      } else {
        return outcome;
      }
    }
  }

  /** The error that an answer stands for; ends the answer. */
  async reject(asked: Asked, { status, headers, body }: HttpResponse): Promise<Error> {
    const ociCode = await readErrorCode(body, this.#settings.idleTimeoutMs);
    return statusError(asked, status, ociCode, parseRetryAfter(headers['retry-after'], new Date()));
  }

  #exchange({ url, headers, form }: HttpRequest, signal: AbortSignal): Promise<HttpResponse> {
    const body = form === undefined ? {} : { method: 'POST' as const, form: { ...form } };
    const stream = this.#got.stream(url, { headers: { ...headers }, signal, ...body });
    return new Promise((resolve, reject) => {
      // Stays for good: an error that comes while nobody reads the body yet is found by whoever will.
      stream.on('error', reject);
      stream.once('response', ({ statusCode, headers: answered }: PlainResponse) => {
        resolve({ status: statusCode, headers: answered, body: stream });
      });
    });
  }

  async #pause(asked: Asked, ms: number, signal: AbortSignal): Promise<void> {
    try {
      await sleep(ms, undefined, { signal });
    } catch (error) {
      throw failure(asked, error, signal);
    }
  }
}

/** Full jitter, so that those who failed together do not come back together. */
function backoffMs(attempt: number): number {
  return Math.random() * BASE_BACKOFF_MS * 2 ** attempt;
}

function createAgents(
  registry: Registry,
  environment: ProxyVariables,
): (url: URL) => { http: HttpAgent; https: HttpsAgent } {
  const variable = (name: string): string => environment[name] ?? environment[name.toLowerCase()] ?? '';
  const isDirect = parseNoProxy(variable('NO_PROXY'));
  // One context for all connections: as `ca` of each request, 150 default roots would be a part of every pool's key.
  const secureContext = createSecureContext({
    ca: [...getCACertificates('default'), ...registry.ca],
    minVersion: 'TLSv1.2',
  });
  const pair = (proxyEnv?: Record<string, string>): { http: HttpAgent; https: HttpsAgent } => {
    const options = { keepAlive: true, timeout: IDLE_SOCKET_MS, ...(proxyEnv && { proxyEnv }) };
    return { http: new HttpAgent(options), https: new HttpsAgent({ ...options, secureContext }) };
  };
  const direct = pair();
  const proxied = pair({ HTTP_PROXY: variable('HTTP_PROXY'), HTTPS_PROXY: variable('HTTPS_PROXY') });
  return (url) => (isDirect(url) ? direct : proxied);
}

/** The first code of OCI's error body (distribution-spec, error codes), for the log. */
async function readErrorCode(body: Readable, idleTimeoutMs: number): Promise<string | undefined> {
  try {
    const text = await readAtMost(body, MAX_ERROR_BYTES, idleTimeoutMs);
    const code = (JSON.parse(text.toString()) as { errors?: { code?: unknown }[] }).errors?.[0]?.code;
    return typeof code === 'string' && /^[A-Z_]{1,64}$/.test(code) ? code : undefined;
  } catch {
    return undefined;
  }
}
