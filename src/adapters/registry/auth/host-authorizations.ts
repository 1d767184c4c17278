/** The authorization of each host that a registry leads to: the credential for the registry, anonymous tokens for strangers. */
import { ANONYMOUS } from '../../../domain/credential.ts';
import type { Registry } from '../../../domain/upstream.ts';
import { Authorization, type AuthorizationOptions } from './authorization.ts';
import { BaseChallenge } from './base-challenge.ts';
import type { AuthorizeHost } from '../transport/http-message.ts';
import { isSameOrSafer } from '../transport/http-client.ts';
import { isTrustedRealm } from './trusted-realm.ts';

/** A registry leads to a few storages; one that names ever new ones does not fill the memory. */
const MAX_HOSTS = 100;

interface Host {
  readonly authorization: Authorization;
  readonly isTrusted: boolean;
}

export class HostAuthorizations {
  readonly #options: AuthorizationOptions;
  readonly #home: URL;
  readonly #base: BaseChallenge;
  /** By origin. */
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

  /** The registry, the same host by the safer scheme, and hosts that the settings name. */
  #isTrusted(url: URL): boolean {
    if (isSameOrSafer(this.#home, url)) return true;
    const isAsSafe = url.protocol === 'https:' || url.protocol === this.#home.protocol;
    return isAsSafe && isTrustedRealm(url, this.#options.trustedRealms);
  }
}
