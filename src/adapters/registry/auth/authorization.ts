/** Authorization at a registry and at the hosts to which it redirects; caches tokens (distribution-spec, token protocol). */
import { SingleFlight } from '../../../application/concurrency/single-flight.ts';
import { BoundedMap } from '../../../domain/bounded-map.ts';
import { ANONYMOUS, flawOf } from '../../../domain/credential.ts';
import { CredentialsMissingError, UpstreamDeniedError } from '../../../domain/errors.ts';
import { dialledHost, type Registry } from '../../../domain/upstream.ts';
import { BaseChallenge, type Challenge, parseChallenges, rankChallenges } from './challenge.ts';
import { type HttpClient, isSameOrSafer } from '../transport/http-client.ts';
import type { AuthorizeHost, RevealingHeader } from '../transport/http-message.ts';
import { basicHeader, requestToken } from './token.ts';
import { UpstreamFault } from '../upstream-errors.ts';
import { isTrustedRealm, judgeRealm } from '../realm.ts';

/** A token is replaced after this share of its lifetime, so that it does not expire during a request. */
const USED_LIFETIME = 0.8;
/** Limits the memory: clients choose the repositories, and some token servers grant tokens for missing ones. */
const MAX_GRANTS = 1000;
/** Limits the memory: a registry redirects to a few hosts, but a hostile one could redirect to many. */
const MAX_HOSTS = 100;

const NO_CHALLENGE = 'status 401 without a challenge that is supported: is this a registry?';
const NO_PASSWORD = 'a password is required but not configured';

interface Grant {
  /** The value of the Authorization header. */
  readonly header: string;
  /** The time on the monotonic clock, in milliseconds. */
  readonly usableUntil: number;
}

/** The way to answer a challenge, or the reason why it cannot be answered. */
type Answer = { readonly grant: (signal: AbortSignal) => Promise<Grant> } | { readonly fault: string };

interface AuthorizationOptions {
  readonly registry: Registry;
  readonly client: HttpClient;
  /** Token servers that may see credentials because the settings name them. */
  readonly trustedRealms: readonly string[];
  readonly idleTimeoutMs: number;
  /** Milliseconds on a clock that never jumps. */
  readonly now: () => number;
  /** The challenge of the registry itself; hosts to which it redirects have none. */
  readonly base?: BaseChallenge;
}

export class Authorization {
  readonly #options: AuthorizationOptions;
  readonly #grants = new BoundedMap<string, Grant>(MAX_GRANTS);
  readonly #requests = new SingleFlight<string, Grant>();

  constructor(options: AuthorizationOptions) {
    this.#options = options;
  }

  /** The last header that this repository accepted, if it is still valid. */
  remembered(repository: string): string | undefined {
    const { api } = this.#options.registry;
    if (api?.token !== undefined) return `Bearer ${api.token.reveal()}`;
    const grant = this.#grants.get(repository);
    return grant !== undefined && grant.usableUntil > this.#options.now() ? grant.header : undefined;
  }

  /**
   * Resolves with the header that answers a 401 to a request with the header `used`. Rejects with UpstreamDeniedError if there
   * is no other header to send.
   */
  async answer(challenges: string, repository: string, used: string | undefined, signal: AbortSignal): Promise<string> {
    const current = this.remembered(repository);
    // Another request was refused, too, and has already got a new header.
    if (current !== undefined && current !== used) return current;
    if (this.#options.registry.api?.token !== undefined) throw this.#denied('token is refused');
    this.#grants.delete(repository);
    const answerable = rankChallenges(parseChallenges(challenges));
    // Harbor asks for a password where it refuses a token, and for a token where it is shown nothing.
    const isMisleading = used?.startsWith('Bearer ') === true && !answerable.some(({ scheme }) => scheme === 'bearer');
    const others = isMisleading || answerable.length === 0 ? await this.#baseChallenges(signal) : [];
    const grant = await this.#obtain([...others, ...answerable], repository, signal);
    if (grant.header === used) throw this.#denied('credentials are refused');
    this.#grants.set(repository, grant);
    return grant.header;
  }

  /**
   * The header for a registry that hides content from requests without one; undefined if there is none to send. Rejects with
   * UpstreamDeniedError if the registry wants the credential at a host that must not get it.
   */
  async reveal(repository: string, signal: AbortSignal): Promise<RevealingHeader | undefined> {
    const challenges = await this.#baseChallenges(signal);
    if (challenges.length === 0) return undefined;
    const grant = await this.#obtain(challenges, repository, signal);
    const confirm = (): void => {
      this.#grants.set(repository, grant);
      this.#options.base?.proveNeeded();
    };
    return { header: grant.header, confirm };
  }

  async #baseChallenges(signal: AbortSignal): Promise<Challenge[]> {
    return rankChallenges(parseChallenges((await this.#options.base?.ask(signal)) ?? ''));
  }

  /** Answers the first of `challenges` that can be answered. */
  #obtain(challenges: readonly Challenge[], repository: string, signal: AbortSignal): Promise<Grant> {
    const begin = async (abandoned: AbortSignal): Promise<Grant> => {
      const faults: string[] = [];
      for (const challenge of challenges) {
        const answer = await this.#answerTo(challenge, repository);
        if ('grant' in answer) return answer.grant(abandoned);
        faults.push(answer.fault);
      }
      throw this.#denied(faults[0] ?? NO_CHALLENGE);
    };
    return this.#requests.run(repository, begin, signal);
  }

  async #answerTo({ scheme, parameters }: Challenge, repository: string): Promise<Answer> {
    const { credential } = this.#options.registry;
    if (scheme === 'basic') {
      if (credential.kind !== 'basic') return { fault: NO_PASSWORD };
      return { grant: () => Promise.resolve({ header: basicHeader(credential), usableUntil: Infinity }) };
    }
    const realm = this.#parseRealm(parameters.get('realm') ?? '');
    if (realm === undefined) return { fault: 'realm is not a URL' };
    const fault = await this.#faultOf(realm);
    if (fault !== undefined) return { fault };
    return { grant: (signal) => this.#fetchToken(realm, parameters, repository, signal) };
  }

  async #fetchToken(
    realm: URL,
    parameters: Challenge['parameters'],
    repository: string,
    signal: AbortSignal,
  ): Promise<Grant> {
    const { client, registry, now, idleTimeoutMs } = this.#options;
    const [service, scope = ''] = [parameters.get('service'), parameters.get('scope')];
    const request = { credential: registry.credential, realm, service, repository, scope };
    const started = now();
    const { token, seconds } = await requestToken(client, request, idleTimeoutMs, signal);
    return { header: `Bearer ${token}`, usableUntil: started + seconds * USED_LIFETIME * 1000 };
  }

  /** A realm without a host is relative to the registry. */
  #parseRealm(realm: string): URL | undefined {
    const { registry } = this.#options;
    const text = realm.trim();
    const home = `${registry.scheme}://${dialledHost(registry)}`;
    return /^\S+$/.test(text) ? (URL.parse(text, home) ?? undefined) : undefined;
  }

  /** The reason why a realm must not get the credential; undefined if it may. */
  async #faultOf(realm: URL): Promise<string | undefined> {
    const { registry, trustedRealms } = this.#options;
    const trust = await judgeRealm(realm, registry, trustedRealms);
    if (trust === 'trusted' || (trust === 'stranger' && registry.credential.kind === 'anonymous')) return undefined;
    return trust === 'refused'
      ? `realm at ${realm.host} is at a forbidden address`
      : `realm at ${realm.host} is not trusted with credentials (settings: registry.trustedRealms)`;
  }

  #denied(why: string): UpstreamDeniedError {
    const { host, credential } = this.#options.registry;
    const flaw = flawOf(credential);
    const cause = new UpstreamFault({ operation: 'token', host }, flaw === undefined ? why : `${why} (${flaw})`);
    // The hint to configure a password applies only to registries, not to hosts to which they redirect.
    const isMissing = why === NO_PASSWORD && this.#options.base !== undefined;
    return isMissing ? new CredentialsMissingError({ cause }) : new UpstreamDeniedError({ cause });
  }
}

interface Host {
  readonly authorization: Authorization;
  readonly isTrusted: boolean;
}

/** The authorization of each host: the credential for the registry, anonymous tokens for the hosts to which it redirects. */
export class HostAuthorizations {
  readonly #options: AuthorizationOptions;
  readonly #home: URL;
  readonly #base: BaseChallenge;
  /** The hosts by their origin. */
  readonly #hosts = new Map<string, Host>();

  /** `home` is the registry's own URL. */
  constructor(home: URL, options: AuthorizationOptions) {
    this.#options = options;
    this.#home = home;
    this.#base = new BaseChallenge(home, options.client, options.now);
  }

  for(repository: string): AuthorizeHost {
    const hasCredential = this.#options.registry.credential.kind !== 'anonymous';
    return (url) => {
      const { authorization, isTrusted } = this.#hosts.get(url.origin) ?? this.#begin(url);
      return {
        header: authorization.remembered(repository),
        isTrusted,
        answer: (challenges, used, signal) => authorization.answer(challenges, repository, used, signal),
        ...(url.origin === this.#home.origin &&
          hasCredential && {
            reveal: (signal: AbortSignal) => authorization.reveal(repository, signal),
            isHiding: this.#base.isNeeded,
          }),
      };
    };
  }

  #begin(url: URL): Host {
    const isTrusted = this.#isTrusted(url);
    const options =
      url.origin === this.#home.origin
        ? { ...this.#options, base: this.#base }
        : { ...this.#options, registry: this.#elsewhere(url, isTrusted) };
    const host = { authorization: new Authorization(options), isTrusted };
    const evicted = [...this.#hosts.keys()].find((origin) => origin !== this.#home.origin);
    if (evicted !== undefined && this.#hosts.size >= MAX_HOSTS) this.#hosts.delete(evicted);
    this.#hosts.set(url.origin, host);
    return host;
  }

  #elsewhere({ protocol, host }: URL, isTrusted: boolean): Registry {
    const { registry } = this.#options;
    const scheme = protocol === 'https:' ? 'https' : 'http';
    return { scheme, host, credential: isTrusted ? registry.credential : ANONYMOUS, ca: registry.ca };
  }

  /** Trusted are the registry, the same host with https instead of http, and the hosts in the settings. */
  #isTrusted(url: URL): boolean {
    if (isSameOrSafer(this.#home, url)) return true;
    const isAsSafe = url.protocol === 'https:' || url.protocol === this.#home.protocol;
    return isAsSafe && isTrustedRealm(url, this.#options.trustedRealms);
  }
}
