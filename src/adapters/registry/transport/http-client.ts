/** Requests to a registry and to wherever it redirects, hop by hop: each host has its own authorization and retries. */
import { UpstreamDeniedError, type UpstreamThrottledError, UpstreamUnavailableError } from '../../../domain/errors.ts';
import type { Registry } from '../../../domain/upstream.ts';
import { discard } from '../body.ts';
import { type Asked, unavailable, UpstreamFault } from '../upstream-errors.ts';
import type { HttpSettings } from './exchange.ts';
import type { HostAuthorization, HttpRequest, HttpResponse } from './http-message.ts';
import { Deadline, PassingError, type Patience, RetriedExchange } from './retried-exchange.ts';

const MAX_REDIRECTS = 5;
/** A target that fails for longer may have a twin, which only the first host can name. */
const TARGET_PATIENCE_MS = 1000;
/** Statuses by which storages refuse a signed URL that has expired on the way, or a proof that they do not expect. */
const REFUSALS: ReadonlySet<number> = new Set([400, 401, 403]);
/** How registries hide content from a request without authorization, instead of challenging. */
const HIDING: ReadonlySet<number> = new Set([400, 403, 404]);
/** 300 with a Location names the choice of the server (RFC 9110, 15.4.1). */
const REDIRECTS: ReadonlySet<number> = new Set([300, 301, 302, 303, 307, 308]);
/** Signatures of S3, GCS, CloudFront and Azure. */
const SIGNATURE = /[?&](?:x-amz-signature|x-goog-signature|signature|sig)=/i;
const NOTHING_TO_SHOW: HostAuthorization = { header: undefined, isTrusted: false };

/** The target of a redirect fails. */
class TargetUnavailableError extends UpstreamUnavailableError {}

/** The target of a redirect refuses. The credential of the registry is as good as before. */
export class RedirectRefusedError extends TargetUnavailableError {}

/** A request to one host on the way. */
interface Hop {
  readonly request: HttpRequest;
  readonly isRedirected: boolean;
  readonly patience: Patience;
}

export class HttpClient {
  readonly #exchange: RetriedExchange;
  readonly #settings: HttpSettings;

  constructor(registry: Registry, settings: HttpSettings) {
    this.#exchange = new RetriedExchange(registry, settings);
    this.#settings = settings;
  }

  /** The first answer that is no redirect and not worth another try. Rejects with domain errors when there is none. */
  async send(request: HttpRequest, signal: AbortSignal): Promise<HttpResponse> {
    const patience = new Deadline(request.patienceMs ?? this.#settings.retryTimeoutMs);
    try {
      return await this.#follow(request, patience, TARGET_PATIENCE_MS, signal);
    } catch (error) {
      if (!(error instanceof TargetUnavailableError)) throw error;
      // The first host signs another URL, or names another storage.
      return this.#follow(request, patience, Infinity, signal);
    }
  }

  /** The error with which `send` would reject without a request, because the host asked for a longer wait. */
  throttling(request: Pick<HttpRequest, 'asked' | 'url'>): UpstreamThrottledError | undefined {
    return this.#exchange.throttling(request, new Deadline(this.#settings.retryTimeoutMs));
  }

  async #follow(
    first: HttpRequest,
    wait: Deadline,
    targetPatienceMs: number,
    signal: AbortSignal,
  ): Promise<HttpResponse> {
    let hop: Hop = { request: first, isRedirected: false, patience: { retry: wait, wait } };
    for (let redirects = 0; ; redirects++) {
      const response = await this.#enter(hop, first.url.origin, signal);
      const next = first.form === undefined ? redirectOf(response, hop.request.url) : undefined;
      if (next === undefined) return response;
      discard(response.body);
      if (redirects >= MAX_REDIRECTS) {
        throw unavailable(new UpstreamFault(response.asked, `more than ${String(MAX_REDIRECTS)} redirects`));
      }
      const asked: Asked = { ...first.asked, host: next.host, redirectedBy: first.asked.host };
      const retry = targetPatienceMs === Infinity ? wait : new Deadline(targetPatienceMs);
      hop = {
        request: { ...first, asked, url: next, isRefusalFinal: false },
        isRedirected: true,
        patience: { retry, wait },
      };
    }
  }

  /** The answer of one host, after its challenge is answered. */
  async #enter({ request, isRedirected, patience }: Hop, home: string, signal: AbortSignal): Promise<HttpResponse> {
    const { url, authorize } = request;
    // Traces hold what others have written: they are not for a storage that no setting names.
    const traces = url.origin === home ? this.#settings.traceHeaders() : {};
    let shown: string | undefined;
    const ask = (authorization: string | undefined): Promise<HttpResponse> => {
      shown = authorization;
      const headers = { ...request.headers, ...traces, ...(authorization !== undefined && { authorization }) };
      const answer = this.#exchange.run({ ...request, headers }, patience, signal);
      return isRedirected ? answer.catch(blameTarget) : answer;
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
      // As of a registry whose clock is off, or that knows its token server no more.
      if (response.status === 401 && answer?.startsWith('Bearer '))
        response = { ...response, note: '(to the token that its token server has just given)' };
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

function blameTarget(error: unknown): never {
  throw error instanceof PassingError ? new TargetUnavailableError(undefined, { cause: error.cause }) : error;
}

/** A stranger that asks for more than an anonymous token gets nothing. */
function unlessStranger({ isTrusted }: HostAuthorization): (error: unknown) => undefined {
  return (error) => {
    if (isTrusted || !(error instanceof UpstreamDeniedError)) throw error;
    return undefined;
  };
}

/** The next URL; undefined for an answer that leads nowhere. @throws UpstreamUnavailableError */
export function redirectOf({ asked, status, headers: { location } }: HttpResponse, from: URL): URL | undefined {
  if (!REDIRECTS.has(status) || location === undefined) return undefined;
  // Node reads headers as Latin-1, and servers write paths in UTF-8.
  const to = URL.parse(Buffer.from(location, 'latin1').toString(), from.href);
  if (to === null || (to.protocol !== 'https:' && to.protocol !== 'http:')) {
    throw unavailable(new UpstreamFault(asked, 'redirect to a URL that is not http or https (ERR_INVALID_REDIRECT)'));
  }
  if (from.protocol === 'https:' && to.protocol !== 'https:') {
    throw unavailable(new UpstreamFault(asked, 'redirect from https to http (ERR_INSECURE_REDIRECT)'));
  }
  return to;
}

/** Whether `to` may see what `from` was shown: the same origin, or the same host by the safer scheme. */
export function isSameOrSafer(from: URL, to: URL): boolean {
  const isSafer = from.protocol === 'http:' && to.protocol === 'https:' && to.hostname === from.hostname;
  return isSafer || to.origin === from.origin;
}

/** A URL with a signature of its own: storages refuse a second proof beside it. */
export function isSigned({ search }: URL): boolean {
  return SIGNATURE.test(search);
}
