/** Reads the answer of a token server (distribution-spec, token protocol; RFC 6749 section 5.1). */
import { HTML, isMarkup } from '../body.ts';
import { type Asked, unavailable, UpstreamFault } from '../upstream-errors.ts';

/** The lifetime of a token without `expires_in`, by the specification. */
const DEFAULT_LIFETIME_SECONDS = 60;

export interface Token {
  readonly token: string;
  /** For how long it is good. */
  readonly seconds: number;
}

/** Registries answer with `token`, OAuth2 servers with `access_token`; both mean the same. @throws UpstreamUnavailableError */
export function parseToken(body: Uint8Array, asked: Asked): Token {
  let json: unknown;
  try {
    // A byte order mark before the JSON is left out.
    json = JSON.parse(new TextDecoder().decode(body));
  } catch {
    // No cause: the syntax error quotes the body, and the body may hold a token.
    throw unavailable(
      new UpstreamFault(asked, isMarkup(body) ? `answer is ${HTML}, not a token` : 'answer is not JSON'),
    );
  }
  const { token, access_token, expires_in } = (json ?? {}) as Record<string, unknown>;
  const found = [token, access_token].map(usableToken).find((text) => text !== undefined);
  if (found === undefined) throw unavailable(new UpstreamFault(asked, 'answer has no token'));
  const seconds = typeof expires_in === 'number' && expires_in > 0 ? expires_in : DEFAULT_LIFETIME_SECONDS;
  return { token: found, seconds };
}

/** RFC 6750 section 2.1 allows fewer characters than token servers use; a header can carry all that are visible. */
function usableToken(value: unknown): string | undefined {
  const text = typeof value === 'string' ? value.trim() : '';
  return /^[!-~]+$/.test(text) ? text : undefined;
}
