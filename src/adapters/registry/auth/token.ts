/** Requests tokens to pull from a repository (distribution-spec, token protocol; RFC 6749, section 5.1). */
import type { Credential } from '../../../domain/credential.ts';
import { discard, gunzipAtMost, HTML, isLabelledGzip, isMarkup, readAtMost } from '../body.ts';
import { type HttpClient, isSameOrSafer } from '../transport/http-client.ts';
import { type AuthorizeHost, type HttpRequest, type HttpResponse, refusal } from '../transport/http-message.ts';
import { type Asked, failure, unavailable, UpstreamFault } from '../upstream-errors.ts';

const MAX_TOKEN_BYTES = 64 * 1024;
const CLIENT_ID = 'registry-packages-proxy';
/** The statuses of token servers that do not support POST: GCR and GitLab 404, Artifactory 401, ACR 400, others 405. */
const NO_POST: ReadonlySet<number> = new Set([400, 401, 404, 405]);
/** The lifetime of a token without `expires_in`, by the specification. */
const DEFAULT_LIFETIME_SECONDS = 60;

interface Token {
  readonly token: string;
  /** The lifetime. */
  readonly seconds: number;
}

interface TokenRequest {
  /** The credential, which the token server may get. */
  readonly credential: Credential;
  readonly realm: URL;
  readonly service: string | undefined;
  readonly repository: string;
  /** The scopes that the challenge names. */
  readonly scope: string;
}

/** Rejects with domain errors. */
export async function requestToken(
  client: HttpClient,
  request: TokenRequest,
  idleTimeoutMs: number,
  signal: AbortSignal,
): Promise<Token> {
  const asked: Asked = { operation: 'token', host: request.realm.host };
  const response = await send(client, asked, request, signal);
  // Some token servers answer 201, because they created a token.
  if (response.status < 200 || response.status > 299) throw await refusal(response);
  try {
    const bytes = await readAtMost(response.body, MAX_TOKEN_BYTES, idleTimeoutMs);
    // A cache before the token server may have stored the answer to a client that accepts gzip.
    const decoded = isLabelledGzip(response.headers) ? await gunzipAtMost(bytes, MAX_TOKEN_BYTES) : undefined;
    return parseToken(decoded ?? bytes, asked);
  } catch (error) {
    throw failure(asked, error, signal);
  }
}

/** Sends POST for an identity token; otherwise GET, which every token server supports. */
async function send(
  client: HttpClient,
  asked: Asked,
  request: TokenRequest,
  signal: AbortSignal,
): Promise<HttpResponse> {
  if (request.credential.kind === 'identity') {
    const response = await client.send(exchangeRequest(asked, request, request.credential), signal);
    if (!NO_POST.has(response.status)) return response;
    discard(response.body);
  }
  return client.send(getRequest(asked, request), signal);
}

/** The scopes to pull from this repository and from others in the challenge (the repository of a mirror has another name). */
function scopesOf(repository: string, challenged: string): string[] {
  const others = challenged.split(' ').flatMap((scope) => {
    const [, name = repository] = /^repository:([a-z0-9._/-]{1,255}):[a-z*,]+$/.exec(scope) ?? [];
    return name === repository ? [] : [`repository:${name}:pull`];
  });
  return [`repository:${repository}:pull`, ...others];
}

/** The request of the OAuth2 token protocol (distribution-spec). */
function exchangeRequest(
  asked: Asked,
  { realm, service, repository, scope }: TokenRequest,
  { token }: Extract<Credential, { kind: 'identity' }>,
): HttpRequest {
  const refresh = { grant_type: 'refresh_token', refresh_token: token.reveal(), client_id: CLIENT_ID };
  const scopes = scopesOf(repository, scope).join(' ');
  return {
    asked,
    url: realm,
    headers: {},
    form: { ...refresh, scope: scopes, ...(service !== undefined && { service }) },
  };
}

function getRequest(asked: Asked, { realm, service, repository, scope, credential }: TokenRequest): HttpRequest {
  const url = new URL(realm);
  if (service !== undefined) url.searchParams.set('service', service);
  for (const one of scopesOf(repository, scope)) url.searchParams.append('scope', one);
  return {
    asked,
    url,
    headers: {},
    ...(credential.kind !== 'anonymous' && { authorize: only(url, basicHeader(credential)) }),
  };
}

/** If the token server redirects, the other host does not get the password. */
function only(realm: URL, header: string): AuthorizeHost {
  return (url) => {
    const isTrusted = isSameOrSafer(realm, url);
    return { header: isTrusted ? header : undefined, isTrusted };
  };
}

export function basicHeader(credential: Exclude<Credential, { kind: 'anonymous' }>): string {
  // An identity token is sent as a password with an empty user, as containerd does.
  const [username, password] =
    credential.kind === 'basic' ? [credential.username, credential.password] : ['', credential.token];
  return `Basic ${Buffer.from(`${username}:${password.reveal()}`).toString('base64')}`;
}

/** Registries answer with `token`, OAuth2 servers with `access_token`; both mean the same. @throws UpstreamUnavailableError */
export function parseToken(body: Uint8Array, asked: Asked): Token {
  let json: unknown;
  try {
    // TextDecoder removes a byte order mark before the JSON.
    json = JSON.parse(new TextDecoder().decode(body));
  } catch {
    // Without the cause: the syntax error quotes the body, which can contain a token.
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

/** Token servers use more characters than RFC 6750, section 2.1, allows. All visible characters are allowed in a header. */
function usableToken(value: unknown): string | undefined {
  const text = typeof value === 'string' ? value.trim() : '';
  return /^[!-~]+$/.test(text) ? text : undefined;
}
