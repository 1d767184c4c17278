/** What one registry has told us about entering it, and the tokens that it gave us (distribution-spec, token protocol). */
import { UpstreamDeniedError } from '../../domain/errors.ts';
import type { Credential } from '../../domain/credential.ts';
import type { Registry } from '../../domain/upstream.ts';
import { readAtMost } from './body.ts';
import { type Challenge, chooseChallenge, parseChallenges } from './challenge.ts';
import type { HttpClient } from './http-client.ts';
import type { AuthorizeHost, HttpRequest, HttpResponse } from './http-message.ts';
import { refusal } from './refusal.ts';
import { SharedRequest } from './shared-request.ts';
import { parseToken } from './token.ts';
import { type Asked, failure, UpstreamFault } from './upstream-errors.ts';

const MAX_TOKEN_BYTES = 64 * 1024;
/** A token is replaced before it ends on the way. */
const USED_LIFETIME = 0.8;
/** Repositories come from requests, and token servers grant tokens for some that do not exist. */
const MAX_GRANTS = 1000;
const CLIENT_ID = 'registry-packages-proxy';
/** How token servers say that they know nothing of POST: GCR and GitLab by 404, Artifactory by 401, ACR by 400, others by 405. */
const NO_POST: ReadonlySet<number> = new Set([400, 401, 404, 405]);

interface Grant {
  /** Value of an Authorization header. */
  readonly header: string;
  /** On the monotonic clock, in milliseconds. */
  readonly usableUntil: number;
}

export interface AuthorizationOptions {
  readonly registry: Registry;
  readonly client: HttpClient;
  /** Hosts that may see credentials although nothing but the settings says so. */
  readonly trustedRealms: readonly string[];
  readonly idleTimeoutMs: number;
  /** Milliseconds on a clock that never jumps. */
  readonly now: () => number;
}

export class Authorization {
  readonly #options: AuthorizationOptions;
  readonly #grants = new Map<string, Grant>();
  readonly #requests = new SharedRequest<Grant>();

  constructor(options: AuthorizationOptions) {
    this.#options = options;
  }

  /** The header that opened this repository before and still should. */
  remembered(repository: string): string | undefined {
    const grant = this.#grants.get(repository);
    return grant !== undefined && grant.usableUntil > this.#options.now() ? grant.header : undefined;
  }

  /**
   * The answer to a 401 that came although `used` was sent. Rejects with UpstreamDeniedError when there is nothing better
   * to answer.
   */
  async answer(challenges: string, repository: string, used: string | undefined, signal: AbortSignal): Promise<string> {
    const current = this.remembered(repository);
    // Somebody else has been refused too and has got a new one already.
    if (current !== undefined && current !== used) return current;
    this.#grants.delete(repository);
    const challenge = chooseChallenge(parseChallenges(challenges));
    const grant = await this.#requests.join(
      repository,
      (abandoned) => this.#grant(challenge, repository, abandoned),
      signal,
    );
    if (grant.header === used) throw this.#denied('credentials are refused');
    this.#remember(repository, grant);
    return grant.header;
  }

  #remember(repository: string, grant: Grant): void {
    const [oldest] = this.#grants.keys();
    if (oldest !== undefined && this.#grants.size >= MAX_GRANTS) this.#grants.delete(oldest);
    this.#grants.set(repository, grant);
  }

  async #grant(challenge: Challenge | undefined, repository: string, signal: AbortSignal): Promise<Grant> {
    const { credential } = this.#options.registry;
    if (challenge === undefined) throw this.#denied('no challenge that we can answer');
    if (challenge.scheme === 'bearer') return this.#fetchToken(challenge, repository, signal);
    if (credential.kind !== 'basic') throw this.#denied('a password is asked for and none is configured');
    return { header: basicHeader(credential), usableUntil: Infinity };
  }

  async #fetchToken({ parameters }: Challenge, repository: string, signal: AbortSignal): Promise<Grant> {
    const { now, idleTimeoutMs } = this.#options;
    const realm = await this.#parseRealm(parameters.get('realm') ?? '');
    const asked: Asked = { operation: 'token', host: realm.host };
    const asking = { service: parameters.get('service'), scopes: scopesOf(repository, parameters.get('scope') ?? '') };
    const started = now();
    const response = await this.#askForToken(asked, realm, asking, signal);
    if (response.status !== 200) throw await refusal(response);
    try {
      const { token, seconds } = parseToken(await readAtMost(response.body, MAX_TOKEN_BYTES, idleTimeoutMs), asked);
      return { header: `Bearer ${token}`, usableUntil: started + seconds * USED_LIFETIME * 1000 };
    } catch (error) {
      throw failure(asked, error, signal);
    }
  }

  /** By POST for an identity token; by GET, which every token server knows, for the rest of us. */
  async #askForToken(asked: Asked, realm: URL, asking: TokenScope, signal: AbortSignal): Promise<HttpResponse> {
    const {
      client,
      registry: { credential },
    } = this.#options;
    if (credential.kind === 'identity') {
      const response = await client.send(exchangeRequest(asked, realm, asking, credential), signal);
      if (!NO_POST.has(response.status)) return response;
      response.body.destroy();
    }
    return client.send(tokenRequest(asked, realm, asking, credential), signal);
  }

  async #parseRealm(text: string): Promise<URL> {
    const { registry, trustedRealms } = this.#options;
    const realm = URL.parse(text);
    if (realm === null) throw this.#denied('realm is not a URL');
    // The list of public suffixes costs 1 MB and 10 ms, and not every registry names a realm.
    const { judgeRealm } = await import('./realm.ts');
    const trust = judgeRealm(realm, registry, trustedRealms);
    if (trust === 'trusted' || (trust === 'stranger' && registry.credential.kind === 'anonymous')) return realm;
    throw this.#denied(
      trust === 'refused'
        ? `realm at ${realm.host} must not be asked`
        : `realm at ${realm.host} is not trusted with credentials (settings: registry.trustedRealms)`,
    );
  }

  #denied(why: string): UpstreamDeniedError {
    return new UpstreamDeniedError({
      cause: new UpstreamFault({ operation: 'token', host: this.#options.registry.host }, why),
    });
  }
}

interface TokenScope {
  readonly service: string | undefined;
  readonly scopes: readonly string[];
}

/** To pull from this repository, and from those that the registry asks for besides (a mirror's repository has another name). */
function scopesOf(repository: string, challenged: string): string[] {
  const others = challenged.split(' ').flatMap((scope) => {
    const [, name = repository] = /^repository:([a-z0-9._/-]{1,255}):[a-z*,]+$/.exec(scope) ?? [];
    return name === repository ? [] : [`repository:${name}:pull`];
  });
  return [`repository:${repository}:pull`, ...others];
}

/** distribution-spec, OAuth2 token protocol. */
function exchangeRequest(
  asked: Asked,
  realm: URL,
  { service, scopes }: TokenScope,
  { token }: Extract<Credential, { kind: 'identity' }>,
): HttpRequest {
  const refresh = { grant_type: 'refresh_token', refresh_token: token.reveal(), client_id: CLIENT_ID };
  const scope = scopes.join(' ');
  return { asked, url: realm, headers: {}, form: { ...refresh, scope, ...(service !== undefined && { service }) } };
}

function tokenRequest(asked: Asked, realm: URL, { service, scopes }: TokenScope, credential: Credential): HttpRequest {
  const url = new URL(realm);
  if (service !== undefined) url.searchParams.set('service', service);
  for (const scope of scopes) url.searchParams.append('scope', scope);
  return {
    asked,
    url,
    headers: {},
    ...(credential.kind !== 'anonymous' && { authorize: only(url, basicHeader(credential)) }),
  };
}

/** A token server that redirects takes the password nowhere else. */
function only({ origin }: URL, header: string): AuthorizeHost {
  return (url) => ({ header: url.origin === origin ? header : undefined, isTrusted: url.origin === origin });
}

function basicHeader(credential: Exclude<Credential, { kind: 'anonymous' }>): string {
  // An identity token is a password of nobody's, as containerd sends it.
  const [username, password] =
    credential.kind === 'basic' ? [credential.username, credential.password] : ['', credential.token];
  return `Basic ${Buffer.from(`${username}:${password.reveal()}`).toString('base64')}`;
}
