/** The authentication of the scripted registry: none, a password, or tokens that its token server issues for a password. */
import { PASSWORD, USERNAME } from '../../../../test/support/fake-registry.ts';
import type { Answer } from './exchange.ts';
import { refusal } from './honest-answers.ts';

export type Auth = 'anonymous' | 'basic' | 'bearer';

export class RegistryAuth {
  readonly #auth: Auth;
  readonly #repository: string;
  #issued = 0;
  #firstValid = 1;
  #basic = basicOf(PASSWORD);
  /** The fields of a token answer in addition to the token. */
  tokenFields: Readonly<Record<string, unknown>> = { expires_in: 300 };

  constructor(auth: Auth, repository: string) {
    this.#auth = auth;
    this.#repository = repository;
  }

  /** Sets the only valid password, and revokes all tokens that were issued for another one. */
  changePassword(password: string): void {
    this.#basic = basicOf(password);
    this.revoke();
  }

  /** Revokes all tokens. */
  revoke(): void {
    this.#firstValid = this.#issued + 1;
  }

  admits(authorization: string | undefined): boolean {
    if (this.#auth === 'anonymous') return true;
    if (this.#auth === 'basic') return authorization === this.#basic;
    const issued = Number(/^Bearer canary-token-(\d+)$/.exec(authorization ?? '')?.[1] ?? 0);
    return issued >= this.#firstValid && issued <= this.#issued;
  }

  challenge(tokenOrigin: string): string {
    if (this.#auth === 'basic') return 'Basic realm="scripted"';
    return `Bearer realm="${tokenOrigin}/token",service="scripted",scope="repository:${this.#repository}:pull"`;
  }

  /** The answer of the token server. */
  issue(authorization: string | undefined): Answer {
    if (authorization !== this.#basic) return refusal(401, 'UNAUTHORIZED');
    const token = `canary-token-${String(++this.#issued)}`;
    const body = Buffer.from(JSON.stringify({ token, ...this.tokenFields }));
    return { status: 200, headers: { 'content-length': body.byteLength }, body };
  }
}

function basicOf(password: string): string {
  return `Basic ${Buffer.from(`${USERNAME}:${password}`).toString('base64')}`;
}
