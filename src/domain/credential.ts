/** Secrets, the credential of a registry, and its place in a docker `config.json` (docker/cli, config file format). */
import { parseHost, registryKey, type RepositoryPath } from './reference.ts';

export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  /** The only way to the plain text; a search for this name finds each place that reads it. */
  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return '[secret]';
  }

  toJSON(): string {
    return '[secret]';
  }

  /** `util.inspect`, and with it every console and logger, calls this. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return '[secret]';
  }
}

export type Credential =
  /** `lacks` where a docker config has entries: none for this repository, or one without a password. */
  | { readonly kind: 'anonymous'; readonly lacks?: 'entry' | 'password' }
  | { readonly kind: 'basic'; readonly username: string; readonly password: Secret }
  /** A refresh token of the OAuth2 token protocol (`identitytoken`). */
  | { readonly kind: 'identity'; readonly token: Secret };

/** The user whose password is an identity token (docker credential helpers). */
const TOKEN_USER = '<token>';

export const ANONYMOUS: Credential = { kind: 'anonymous' };
const NO_ENTRY: Credential = { kind: 'anonymous', lacks: 'entry' };
const EMPTY_ENTRY: Credential = { kind: 'anonymous', lacks: 'password' };

/** No password, but what documents of registries propose beside a token that is the user. */
const NO_PASSWORD = /^(?:.{0,5}|x-oauth-basic|unused|nopass|nopassword|password)$/i;

/** The name that a credential goes by; undefined when it has none, or when the name itself may be what opens the door. */
export function userOf(credential: Credential): string | undefined {
  if (credential.kind !== 'basic') return undefined;
  const { username } = credential;
  const password = credential.password.reveal();
  // Or the token stands in both places.
  return NO_PASSWORD.test(password) || password === username ? undefined : username;
}

const FLAWS = {
  entry: 'the docker config has no entry for this registry',
  password:
    'the docker config has no password in the entry for this registry; docker may keep it in a credential store',
} as const;

/** Why a credential looks like a mistake; undefined for one that does not. Nothing else of a password is told. */
export function flawOf(credential: Credential): string | undefined {
  if (credential.kind === 'anonymous') return credential.lacks && FLAWS[credential.lacks];
  if (credential.kind !== 'basic') return undefined;
  const { username } = credential;
  if (username.trim() !== username) return 'the name of the user begins or ends with white space';
  const password = credential.password.reveal();
  if (/[\r\n]$/.test(password)) return 'the password ends with a line feed';
  if (password.trim() !== password) return 'the password begins or ends with white space';
  return password.startsWith(`${username}:`) ? 'the password begins with the name of its user and a colon' : undefined;
}

/** Says which part cannot be read; never shows it. */
export class InvalidCredentialError extends Error {
  override readonly name = 'InvalidCredentialError';
}

/**
 * The credential of base64 `dockerCfg` for a repository: the host with its port must be that of the registry, in any
 * spelling, and of several paths the longest one that the repository's path begins with, component by component, wins.
 * None that fits means anonymous, as docker takes it.
 */
export function credentialFor(
  dockerCfg: string,
  { scheme, host }: { readonly scheme: 'http' | 'https'; readonly host: string },
  path: RepositoryPath | undefined,
): Credential {
  if (dockerCfg.trim() === '') return ANONYMOUS;
  const wanted = registryKey(host, scheme);
  const auths = Object.entries(parseAuths(dockerCfg));
  const fits = auths
    .map(([key, auth]) => ({ ...parseKey(key), auth }))
    .filter((entry) => entry.host !== undefined && registryKey(entry.host, scheme) === wanted)
    .filter((entry) => isPrefix(entry.path, path ?? ''))
    .sort((a, b) => b.path.length - a.path.length);
  if (fits[0] !== undefined) return parseAuth(fits[0].auth);
  return auths.length === 0 ? ANONYMOUS : NO_ENTRY;
}

function parseAuths(dockerCfg: string): Record<string, unknown> {
  const text = decodeBase64(dockerCfg, 'not base64');
  const config = parseJson(text, otherThanJson(text));
  const auths = config['auths'] ?? {};
  if (typeof auths !== 'object' || Array.isArray(auths)) throw new InvalidCredentialError('"auths" is not an object');
  return auths as Record<string, unknown>;
}

/** Windows writes UTF-16 unless it is told otherwise; a value of `kubectl get -o yaml` is base64 once more. */
function otherThanJson(text: string): string {
  if (text.includes('\0')) return 'base64 of UTF-16, and JSON is UTF-8';
  return /^ey[A-Za-z0-9+/]+={0,2}$/.test(text.replace(/\s+/g, '')) ? 'encoded as base64 twice' : 'not base64 of JSON';
}

/** `https://host:port/v1/` and `host:port` are the same registry; `host/path` is one part of it. */
function parseKey(key: string): { host: string | undefined; path: string } {
  const [host = '', ...path] = key
    .replace(/^https?:\/\//i, '')
    .split('/')
    .filter((part) => part !== '');
  if (path.length === 1 && (path[0] === 'v1' || path[0] === 'v2')) path.pop();
  return { host: parseHost(host), path: path.join('/') };
}

function isPrefix(prefix: string, path: string): boolean {
  return prefix === '' || path === prefix || path.startsWith(`${prefix}/`);
}

function parseAuth(json: unknown): Credential {
  if (json === null) return EMPTY_ENTRY;
  if (typeof json !== 'object') throw new InvalidCredentialError('an entry of "auths" is not an object');
  const { auth, username, password, identitytoken } = json as Record<string, unknown>;
  if (typeof identitytoken === 'string' && identitytoken !== '') return identity(identitytoken);
  if (typeof auth === 'string' && auth !== '') return parseBasic(decodeBase64(auth, '"auth" is not base64'));
  if (typeof username === 'string' && username !== '' && typeof password === 'string') return basic(username, password);
  return EMPTY_ENTRY;
}

/** RFC 7617: the first colon ends the user's name, a password may hold more of them. */
function parseBasic(pair: string): Credential {
  // Deckhouse before 1.73 writes this for a registry without accounts.
  if (/^:\r?\n?$/.test(pair)) return EMPTY_ENTRY;
  const colon = pair.indexOf(':');
  if (colon < 1) throw new InvalidCredentialError('"auth" is not base64 of username:password');
  return basic(pair.slice(0, colon), pair.slice(colon + 1));
}

export function basic(username: string, password: string): Credential {
  if (username === TOKEN_USER) return identity(password);
  return { kind: 'basic', username, password: new Secret(password) };
}

function identity(token: string): Credential {
  return { kind: 'identity', token: new Secret(token) };
}

function decodeBase64(text: string, complaint: string): string {
  const compact = text.replace(/\s+/g, '');
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(compact)) throw new InvalidCredentialError(complaint);
  // Some editors of Windows begin a file with a byte order mark.
  return Buffer.from(compact, 'base64')
    .toString('utf8')
    .replace(/^\ufeff/, '');
}

function parseJson(text: string, complaint: string): Record<string, unknown> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    // No cause: a JSON syntax error quotes the text, and this text holds passwords.
    throw new InvalidCredentialError(complaint);
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw new InvalidCredentialError(complaint);
  return json as Record<string, unknown>;
}
