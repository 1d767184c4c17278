/** HTTP to one registry: its connections, its certificates, bounded waits, and patience before the first byte. */
import got, { type Got, type PlainResponse } from 'got';
import type { ClientRequest, IncomingHttpHeaders } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { UpstreamThrottledError } from '../../domain/errors.ts';
import type { Registry } from '../../domain/upstream.ts';
import { createAgents, type ProxyVariables } from './agents.ts';
import { type Body, IdleError, IncompleteError, readAtMost } from './body.ts';
import { DialGuard } from './dial-guard.ts';
import { Inflow } from './inflow.ts';
import { checkRedirect } from './redirects.ts';
import { retryAfterOf } from './retry-after.ts';
import { type Asked, codeOf, failure, statusError, UpstreamFault } from './upstream-errors.ts';

export interface HttpSettings {
  readonly connectTimeoutMs: number;
  readonly headersTimeoutMs: number;
  /** Without a byte of a blob; for the whole of what is small. */
  readonly idleTimeoutMs: number;
  /** Of one request, until its headers are there. */
  readonly attempts: number;
  /** Hosts, with their port when it is not the scheme's, that may see credentials as token servers. */
  readonly trustedRealms: readonly string[];
  readonly userAgent: string;
  /** `traceparent` and `tracestate` of whoever sends a request now. */
  readonly traceHeaders: () => Readonly<Record<string, string>>;
  readonly environment: ProxyVariables;
}

export interface HttpRequest {
  readonly asked: Asked;
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  /** Its body may be large. */
  readonly isBulk?: boolean;
  /** Sent by POST, to this URL and no other: a form holds a secret, and 307 and 308 would take it along (RFC 9110, 15.4.8). */
  readonly form?: Readonly<Record<string, string>>;
}

export interface HttpResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** It came from where a redirect led. */
  readonly redirected: boolean;
  /** To be read or destroyed by whoever asked. */
  readonly body: Body;
}

const MAX_REDIRECTS = 5;
/** 1xx; a registry has hardly a reason for one. */
const MAX_INTERIM_ANSWERS = 100;
const MAX_ERROR_BYTES = 4096;
/** An error's code is for the log only, and somebody waits for the error. */
const ERROR_BODY_MS = 1000;
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
  /** For one exchange up to its headers: name, connection and handshake, then the answer; redirects are not extra. */
  readonly #patienceMs: number;
  /** By host (a registry and its token servers), on the monotonic clock, in milliseconds. */
  readonly #busyUntil = new Map<string, number>();

  constructor(registry: Registry, settings: HttpSettings) {
    this.#settings = settings;
    const guard = new DialGuard(registry, settings.trustedRealms);
    const agents = createAgents(registry, guard, settings.environment);
    const { connectTimeoutMs, headersTimeoutMs, userAgent } = settings;
    this.#patienceMs = 3 * connectTimeoutMs + headersTimeoutMs;
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
          async (options) => {
            if (!(options.url instanceof URL)) return;
            await guard.check(options.url);
            options.agent = agents(options.url);
          },
        ],
        beforeRedirect: [checkRedirect],
      },
    });
  }

  /** The first answer that is not worth another try. Rejects with domain errors when there is none. */
  async send(request: HttpRequest, signal: AbortSignal): Promise<HttpResponse> {
    for (let attempt = 1; ; attempt++) {
      await this.#awaitTurn(request, signal);
      const outcome = await this.#exchange(request, signal).catch((error: unknown) => ({ error }));
      const last = attempt >= this.#settings.attempts;
      if ('error' in outcome) {
        const retried = !last && !signal.aborted && RETRIED_CODES.has(codeOf(outcome.error));
        if (!retried) throw failure(request.asked, outcome.error, signal);
        await this.#pause(request.asked, backoffMs(attempt), signal);
      } else if (RETRIED_STATUSES.has(outcome.status)) {
        const retryAfter = retryAfterOf(outcome.headers);
        if (retryAfter !== undefined) this.#bePatient(request.url.host, retryAfter);
        if (last || (retryAfter ?? 0) > MAX_WAIT_SECONDS) throw await this.reject(request.asked, outcome);
        outcome.body.destroy();
        if (retryAfter === undefined) await this.#pause(request.asked, backoffMs(attempt), signal);
      } else {
        return outcome;
      }
    }
  }

  /** Of several waits that a host asks for at once, the longest counts: the others were asked for before it. */
  #bePatient(host: string, seconds: number): void {
    const until = performance.now() + seconds * 1000;
    this.#busyUntil.set(host, Math.max(until, this.#busyUntil.get(host) ?? 0));
  }

  /**
   * Nobody asks a host that has asked for patience, whoever of us it said it to, and whether before we waited or
   * meanwhile. Rejects when the wait is too long.
   */
  async #awaitTurn({ asked, url }: HttpRequest, signal: AbortSignal): Promise<void> {
    const began = performance.now();
    for (;;) {
      const until = this.#busyUntil.get(url.host) ?? 0;
      const ms = until - performance.now();
      if (ms <= 0) return;
      if (until - began > MAX_WAIT_SECONDS * 1000) {
        const cause = new UpstreamFault(asked, 'asked for patience before');
        throw new UpstreamThrottledError(Math.ceil(ms / 1000), { cause });
      }
      await this.#pause(asked, ms + backoffMs(0), signal);
    }
  }

  /** The error that an answer stands for; ends the answer. */
  async reject(asked: Asked, { status, headers, body }: HttpResponse): Promise<Error> {
    const ociCode = await readErrorCode(body);
    return statusError(asked, status, ociCode, retryAfterOf(headers));
  }

  #exchange({ url, headers, form, isBulk = false }: HttpRequest, signal: AbortSignal): Promise<HttpResponse> {
    const body = form === undefined ? {} : { method: 'POST' as const, form: { ...form }, followRedirect: false };
    const stream = this.#got.stream(url, {
      headers: { ...headers, ...this.#settings.traceHeaders() },
      signal,
      ...body,
    });
    let inflow: Inflow | undefined;
    const bypassParser = (request: ClientRequest): void => {
      request.once('socket', (socket) => {
        inflow = Inflow.of(socket);
        inflow?.expect(request);
      });
    };
    return new Promise<HttpResponse>((resolve, reject) => {
      const giveUp = (error: Error): void => {
        reject(error);
        stream.destroy();
      };
      // One for each redirect.
      stream.on('request', (request: ClientRequest) => {
        if (isBulk) bypassParser(request);
        whenUnexpected(request, giveUp);
      });
      // got watches a socket that it has been given: not a proxy that still makes one, nor several redirects together.
      const patience = setTimeout(giveUp, this.#patienceMs, new IdleError());
      stream.once('close', () => {
        clearTimeout(patience);
        inflow?.body?.fail(new IncompleteError());
      });
      // Stays for good: an error that comes while nobody reads the body yet is found by whoever will.
      stream.on('error', (error) => {
        inflow?.body?.fail(error);
        reject(error);
      });
      stream.once('response', ({ statusCode, headers: answered, redirectUrls }: PlainResponse) => {
        clearTimeout(patience);
        const redirected = redirectUrls.length > 0;
        // The parser is still at work on what brought the headers; only behind it the inflow takes the body over.
        queueMicrotask(() => {
          resolve({ status: statusCode, headers: answered, redirected, body: inflow?.body ?? stream });
        });
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

/** Node would take interim answers for ever, and an upgrade, which nobody has asked for, would never be an answer. */
function whenUnexpected(request: ClientRequest, give: (error: Error) => void): void {
  let interim = 0;
  const complain = (): void => {
    give(Object.assign(new Error('answer is none to this request'), { code: 'ERR_UNEXPECTED_ANSWER' }));
  };
  request.on('information', () => {
    if (++interim > MAX_INTERIM_ANSWERS) complain();
  });
  request.once('upgrade', (_response, socket) => {
    socket.destroy();
    complain();
  });
}

/** Full jitter, so that those who failed together do not come back together. */
function backoffMs(attempt: number): number {
  return Math.random() * BASE_BACKOFF_MS * 2 ** attempt;
}

/** The first code of OCI's error body (distribution-spec, error codes), for the log. */
async function readErrorCode(body: Body): Promise<string | undefined> {
  try {
    const text = await readAtMost(body, MAX_ERROR_BYTES, ERROR_BODY_MS);
    const code = (JSON.parse(text.toString()) as { errors?: { code?: unknown }[] }).errors?.[0]?.code;
    return typeof code === 'string' && /^[A-Z_]{1,64}$/.test(code) ? code : undefined;
  } catch {
    return undefined;
  }
}
