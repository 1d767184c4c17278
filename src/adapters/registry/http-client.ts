/** Requests to a registry and to wherever it redirects, hop by hop: each host has its own authorization and retries. */
import { UpstreamDeniedError, UpstreamUnavailableError } from '../../domain/errors.ts';
import type { Registry } from '../../domain/upstream.ts';
import { discard } from './body.ts';
import type { HostAuthorization, HttpRequest, HttpResponse } from './http-message.ts';
import { isSigned, redirectOf } from './redirects.ts';
import { RetriedExchange, type RetrySettings } from './retried-exchange.ts';
import { type Asked, unavailable, UpstreamFault } from './upstream-errors.ts';

export interface HttpSettings extends RetrySettings {
  /** Without a byte of a blob; for the whole of what is small. */
  readonly idleTimeoutMs: number;
  /** `traceparent` and `tracestate` of the request that is served now. */
  readonly traceHeaders: () => Readonly<Record<string, string>>;
}

const MAX_REDIRECTS = 5;
/** Statuses by which storages refuse a signed URL that has expired on the way, or a proof that they do not expect. */
const REFUSALS: ReadonlySet<number> = new Set([400, 401, 403]);
/** How registries hide content from a request without authorization, instead of challenging. */
const HIDING: ReadonlySet<number> = new Set([400, 403, 404]);
const NOTHING_TO_SHOW: HostAuthorization = { header: undefined, isTrusted: false };

/** The target of a redirect refuses. The credential of the registry is as good as before. */
export class RedirectRefusedError extends UpstreamUnavailableError {}

/** A request to one host on the way. */
interface Hop {
  readonly request: HttpRequest;
  readonly isRedirected: boolean;
}

export class HttpClient {
  readonly #exchange: RetriedExchange;
  readonly #traceHeaders: HttpSettings['traceHeaders'];

  constructor(registry: Registry, settings: HttpSettings) {
    this.#exchange = new RetriedExchange(registry, settings);
    this.#traceHeaders = settings.traceHeaders;
  }

  /** The first answer that is no redirect and not worth another try. Rejects with domain errors when there is none. */
  async send(request: HttpRequest, signal: AbortSignal): Promise<HttpResponse> {
    try {
      return await this.#follow(request, signal);
    } catch (error) {
      if (!(error instanceof RedirectRefusedError)) throw error;
      // The first host signs another URL.
      return this.#follow(request, signal);
    }
  }

  async #follow(first: HttpRequest, signal: AbortSignal): Promise<HttpResponse> {
    let hop: Hop = { request: first, isRedirected: false };
    for (let redirects = 0; ; redirects++) {
      const response = await this.#enter(hop, first.url.origin, signal);
      const next = first.form === undefined ? redirectOf(response, hop.request.url) : undefined;
      if (next === undefined) return response;
      discard(response.body);
      if (redirects >= MAX_REDIRECTS) {
        throw unavailable(new UpstreamFault(response.asked, `more than ${String(MAX_REDIRECTS)} redirects`));
      }
      const asked: Asked = { ...first.asked, host: next.host, redirectedBy: first.asked.host };
      hop = { request: { ...first, asked, url: next }, isRedirected: true };
    }
  }

  /** The answer of one host, after its challenge is answered. */
  async #enter({ request, isRedirected }: Hop, home: string, signal: AbortSignal): Promise<HttpResponse> {
    const { url, authorize } = request;
    // Traces hold what others have written: they are not for a storage that no setting names.
    const traces = url.origin === home ? this.#traceHeaders() : {};
    let shown: string | undefined;
    const ask = (authorization: string | undefined): Promise<HttpResponse> => {
      shown = authorization;
      const headers = { ...request.headers, ...traces, ...(authorization !== undefined && { authorization }) };
      return this.#exchange.run({ ...request, headers }, signal);
    };
    const host = authorize?.(url) ?? NOTHING_TO_SHOW;
    const reveal = isRedirected ? undefined : host.reveal;
    let revealed = host.header === undefined && host.isHiding === true ? await reveal?.(signal) : undefined;
    let response = await ask(isRedirected && isSigned(url) ? undefined : (host.header ?? revealed?.header));
    const challenges = response.headers['www-authenticate'];
    if (isRedirected && shown !== undefined && (response.status === 400 || response.status === 403)) {
      // A storage behind the registry's own name: the proof in the URL is enough.
      discard(response.body);
      response = await ask(undefined);
    } else if (response.status === 401 && host.answer !== undefined && (challenges !== undefined || !isRedirected)) {
      discard(response.body);
      const answer = await host.answer(challenges ?? '', shown, signal).catch(unlessStranger(host));
      if (answer !== undefined) response = await ask(answer);
    } else if (shown === undefined && reveal !== undefined && HIDING.has(response.status)) {
      revealed = await reveal(signal);
      if (revealed !== undefined) {
        discard(response.body);
        response = await ask(revealed.header);
      }
    }
    if (response.status < 400) revealed?.confirm();
    const isRefusedCredential = host.isTrusted && shown !== undefined;
    if (!isRedirected || isRefusedCredential || !REFUSALS.has(response.status)) return response;
    discard(response.body);
    throw new RedirectRefusedError(undefined, {
      cause: new UpstreamFault(response.asked, `status ${String(response.status)}`),
    });
  }
}

/** A stranger that asks for more than an anonymous token gets nothing. */
function unlessStranger({ isTrusted }: HostAuthorization): (error: unknown) => undefined {
  return (error) => {
    if (isTrusted || !(error instanceof UpstreamDeniedError)) throw error;
    return undefined;
  };
}
