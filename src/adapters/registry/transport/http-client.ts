/** Sends requests to a registry and follows its redirects; each host has its own authorization and retries. */
import { UpstreamDeniedError, type UpstreamThrottledError, UpstreamUnavailableError } from '../../../domain/errors.ts';
import { flawOf } from '../../../domain/credential.ts';
import type { Registry } from '../../../domain/upstream.ts';
import { discard } from '../body.ts';
import { type Asked, unavailable, UpstreamFault } from '../upstream-errors.ts';
import type { HttpSettings } from './exchange.ts';
import type { HostAuthorization, HttpRequest, HttpResponse } from './http-message.ts';
import { Deadline, PassingError, type Patience, RetriedExchange } from './retried-exchange.ts';

const MAX_REDIRECTS = 5;
/** After this time of failures of a target, the first host is asked again: it may redirect to another storage. */
const TARGET_PATIENCE_MS = 1000;
/** Statuses of storages for an expired signed URL, or for an Authorization header that they do not expect. */
const REFUSALS: ReadonlySet<number> = new Set([400, 401, 403]);
/** Statuses of registries that hide content from a request without authorization instead of sending a challenge. */
const HIDING: ReadonlySet<number> = new Set([400, 403, 404]);
/** 300 with a Location states the choice of the server (RFC 9110, 15.4.1). */
const REDIRECTS: ReadonlySet<number> = new Set([300, 301, 302, 303, 307, 308]);
/** Signatures of S3, GCS, CloudFront and Azure. */
const SIGNATURE = /[?&](?:x-amz-signature|x-goog-signature|signature|sig)=/i;
const NOTHING_TO_SHOW: HostAuthorization = { header: undefined, isTrusted: false };

/** The target of a redirect fails. */
class TargetUnavailableError extends UpstreamUnavailableError {}

/** The target of a redirect refuses. This does not mean that the credential of the registry is wrong. */
export class RedirectRefusedError extends TargetUnavailableError {}

/** A request to one host of the chain of redirects. */
interface Hop {
  readonly request: HttpRequest;
  readonly isRedirected: boolean;
  readonly patience: Patience;
}

export class HttpClient {
  readonly #exchange: RetriedExchange;
  readonly #settings: HttpSettings;
  /** Why the credential looks like a mistake. */
  readonly #flaw: string | undefined;

  constructor(registry: Registry, settings: HttpSettings) {
    this.#flaw = flawOf(registry.credential);
    this.#exchange = new RetriedExchange(registry, settings);
    this.#settings = settings;
  }

  /** Resolves with the first answer that is neither a redirect nor to be retried. Rejects with domain errors. */
  async send(request: HttpRequest, signal: AbortSignal): Promise<HttpResponse> {
    const patience = new Deadline(request.patienceMs ?? this.#settings.retryTimeoutMs);
    try {
      return await this.#follow(request, patience, TARGET_PATIENCE_MS, signal);
    } catch (error) {
      if (!(error instanceof TargetUnavailableError)) throw error;
      // The first host can send another signed URL, or redirect to another storage.
      return this.#follow(request, patience, Infinity, signal);
    }
  }

  /** The error with which `send` would reject without a request, because the Retry-After of the host is too long. */
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

  /** Sends a request to one host, answers its challenge, and resolves with the answer. */
  async #enter({ request, isRedirected, patience }: Hop, home: string, signal: AbortSignal): Promise<HttpResponse> {
    const { url, authorize } = request;
    // Trace headers contain values of clients, so only the registry gets them, not the hosts to which it redirects.
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
      // A storage with the host name of the registry: the signature in the URL is sufficient.
      discard(response.body);
      response = await ask(undefined);
    } else if (response.status === 401 && host.answer !== undefined && (challenges !== undefined || !isRedirected)) {
      discard(response.body);
      const answer = await host.answer(challenges ?? '', shown, signal).catch(unlessStranger(host));
      if (answer !== undefined) response = await ask(answer);
      // The clock of the registry may be wrong, or it may no longer accept its token server.
      if (response.status === 401 && answer?.startsWith('Bearer '))
        response = { ...response, note: '(to a new token from its token server)' };
    } else if (shown === undefined && reveal !== undefined && HIDING.has(response.status)) {
      revealed = await reveal(signal);
      if (revealed !== undefined) {
        discard(response.body);
        response = await ask(revealed.header);
      }
    }
    if (response.status < 400) revealed?.confirm();
    const isRefusedCredential = host.isTrusted && shown !== undefined;
    if (!isRedirected || isRefusedCredential || !REFUSALS.has(response.status)) return this.#withFlaw(response);
    discard(response.body);
    throw new RedirectRefusedError(undefined, {
      cause: new UpstreamFault(response.asked, `status ${String(response.status)}`),
    });
  }

  /** A refusal names the flaw of the credential, so that the log has the likely cause. */
  #withFlaw(response: HttpResponse): HttpResponse {
    if (this.#flaw === undefined || (response.status !== 401 && response.status !== 403)) return response;
    return { ...response, note: `${response.note ?? ''} (${this.#flaw})`.trimStart() };
  }
}

function blameTarget(error: unknown): never {
  throw error instanceof PassingError ? new TargetUnavailableError(undefined, { cause: error.cause }) : error;
}

/** If another host requires more than an anonymous token, it gets no header. */
function unlessStranger({ isTrusted }: HostAuthorization): (error: unknown) => undefined {
  return (error) => {
    if (isTrusted || !(error instanceof UpstreamDeniedError)) throw error;
    return undefined;
  };
}

/** The next URL; undefined if the answer is not a redirect. @throws UpstreamUnavailableError */
export function redirectOf({ asked, status, headers: { location } }: HttpResponse, from: URL): URL | undefined {
  if (!REDIRECTS.has(status) || location === undefined) return undefined;
  // Node decodes headers as Latin-1, but servers write paths in UTF-8.
  const to = URL.parse(Buffer.from(location, 'latin1').toString(), from.href);
  if (to === null || (to.protocol !== 'https:' && to.protocol !== 'http:')) {
    throw unavailable(new UpstreamFault(asked, 'redirect to a URL that is not http or https (ERR_INVALID_REDIRECT)'));
  }
  if (from.protocol === 'https:' && to.protocol !== 'https:') {
    throw unavailable(new UpstreamFault(asked, 'redirect from https to http (ERR_INSECURE_REDIRECT)'));
  }
  return to;
}

/** Whether `to` may get the credential of `from`: the same origin, or the same host with https instead of http. */
export function isSameOrSafer(from: URL, to: URL): boolean {
  const isSafer = from.protocol === 'http:' && to.protocol === 'https:' && to.hostname === from.hostname;
  return isSafer || to.origin === from.origin;
}

/** A URL with a signature. Storages refuse it together with an Authorization header. */
export function isSigned({ search }: URL): boolean {
  return SIGNATURE.test(search);
}
