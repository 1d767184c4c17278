/** The challenges of a registry: the WWW-Authenticate header of an answer (RFC 9110, section 11.6.1), and that of /v2/. */
import { SingleFlight } from '../../../application/concurrency/single-flight.ts';
import { PackageError } from '../../../domain/errors.ts';
import { discard } from '../body.ts';
import type { HttpClient } from '../transport/http-client.ts';

export interface Challenge {
  /** In lower case. */
  readonly scheme: string;
  /** Names in lower case. */
  readonly parameters: ReadonlyMap<string, string>;
}

const SEPARATORS = /[ \t,]*/y;
const TOKEN = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
/** The rest of `name=value` after the name; the value is a token or a quoted string. */
const VALUE = /[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^ \t,"]+))/y;
const EQUALS = /[ \t]*=/y;
/** The credentials of schemes that are not supported (`Negotiate YII…==`). */
const TOKEN68 = / +[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))/y;
/** An answer is used again for this time, because many clients can request a missing package. */
const REMEMBERED_MS = 60_000;

/**
 * Parses all challenges in their order; commas join several headers. A name before `=` is a parameter of the current
 * challenge, any other name is the scheme of the next one. A part that cannot be parsed ends the list.
 */
export function parseChallenges(received: string): Challenge[] {
  // Node decodes headers as Latin-1, and a service can have a name in UTF-8.
  const header = Buffer.from(received, 'latin1').toString();
  const challenges: { scheme: string; parameters: Map<string, string> }[] = [];
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const match = pattern.exec(header);
    if (match !== null) at = pattern.lastIndex;
    return match;
  };
  for (;;) {
    take(SEPARATORS);
    const name = take(TOKEN)?.[0].toLowerCase();
    if (name === undefined) return challenges;
    const current = challenges.at(-1);
    const value = current && take(VALUE);
    if (value) {
      current.parameters.set(name, value[2] ?? (value[1] ?? '').replace(/\\(.)/g, '$1'));
    } else if (take(EQUALS)) {
      return challenges;
    } else {
      challenges.push({ scheme: name, parameters: new Map() });
      take(TOKEN68);
    }
  }
}

/** Returns the challenges with a supported scheme in the order in which to try them: Bearer before Basic. */
export function rankChallenges(challenges: readonly Challenge[]): Challenge[] {
  return [
    ...challenges.filter(({ scheme, parameters }) => scheme === 'bearer' && parameters.has('realm')),
    ...challenges.filter(({ scheme }) => scheme === 'basic'),
  ];
}

/** The challenge at /v2/, for registries that hide content instead of sending a challenge with the refusal. */
export class BaseChallenge {
  readonly #home: URL;
  readonly #client: HttpClient;
  readonly #now: () => number;
  readonly #requests = new SingleFlight<'', string | undefined>();
  #last: { readonly challenges: string | undefined; readonly askedAt: number } | undefined;
  #isNeeded = false;

  /** `home` is the registry's own URL; `now` gives milliseconds on a clock that never jumps. */
  constructor(home: URL, client: HttpClient, now: () => number) {
    this.#home = home;
    this.#client = client;
    this.#now = now;
  }

  /** Whether this registry has sent content only after this challenge was answered. */
  get isNeeded(): boolean {
    return this.#isNeeded;
  }

  proveNeeded(): void {
    this.#isNeeded = true;
  }

  /** Resolves with the WWW-Authenticate header; undefined when the registry does not challenge, or does not answer now. */
  async ask(signal: AbortSignal): Promise<string | undefined> {
    if (this.#last !== undefined && this.#now() - this.#last.askedAt < REMEMBERED_MS) return this.#last.challenges;
    return this.#requests.run('', (abandoned) => this.#request(abandoned), signal);
  }

  async #request(signal: AbortSignal): Promise<string | undefined> {
    const askedAt = this.#now();
    try {
      const asked = { operation: 'token', host: this.#home.host } as const;
      const { headers, body } = await this.#client.send(
        { asked, url: new URL('v2/', this.#home), headers: {} },
        signal,
      );
      discard(body);
      this.#last = { challenges: headers['www-authenticate'], askedAt };
      return headers['www-authenticate'];
    } catch (error) {
      // The caller reports the refusal that caused this request, which has more information.
      if (signal.aborted || !(error instanceof PackageError)) throw error;
      return undefined;
    }
  }
}
