/** The challenge of a registry at /v2/: all that a registry says of authorization when it hides content instead of challenging. */
import { PackageError } from '../../../domain/errors.ts';
import { discard } from '../body.ts';
import type { HttpClient } from '../transport/http-client.ts';
import { SharedRequest } from './shared-request.ts';

/** An answer is not asked for again in this time: a missing package may be asked for by many clients. */
const REMEMBERED_MS = 60_000;

export class BaseChallenge {
  readonly #home: URL;
  readonly #client: HttpClient;
  readonly #now: () => number;
  readonly #requests = new SharedRequest<string | undefined>();
  #last: { readonly challenges: string | undefined; readonly askedAt: number } | undefined;
  #isNeeded = false;

  /** `home` is the registry's own URL; `now` gives milliseconds on a clock that never jumps. */
  constructor(home: URL, client: HttpClient, now: () => number) {
    this.#home = home;
    this.#client = client;
    this.#now = now;
  }

  /** Whether this registry has shown content only after this challenge was answered. */
  get isNeeded(): boolean {
    return this.#isNeeded;
  }

  proveNeeded(): void {
    this.#isNeeded = true;
  }

  /** Resolves with the WWW-Authenticate header; undefined when the registry does not challenge, or does not answer now. */
  async ask(signal: AbortSignal): Promise<string | undefined> {
    if (this.#last !== undefined && this.#now() - this.#last.askedAt < REMEMBERED_MS) return this.#last.challenges;
    return this.#requests.join('', (abandoned) => this.#request(abandoned), signal);
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
      // The refusal that led here says more.
      if (signal.aborted || !(error instanceof PackageError)) throw error;
      return undefined;
    }
  }
}
