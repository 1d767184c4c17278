/** Secrets, the credential of a registry, and its place in a docker `config.json` (docker/cli, config file format). */
import { parseHost, registryKey, type RepositoryPath } from './reference.ts';

export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  /** Returns the plain text. No other member does, so a search for this name finds each place that reads it. */
  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return '[secret]';
  }

  toJSON(): string {
    return '[secret]';
  }

  /** `util.inspect` calls this, and with it each console and logger. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return '[secret]';
  }
}

export type Credential =
  /**
   * `lacks` tells why a docker config with entries gives no account: no entry fits this repository, the entry has no password,
   * or a program of docker has the password, which this service cannot run.
   */
  | { readonly kind: 'anonymous'; readonly lacks?: 'entry' | 'password' | 'program' }
  | { readonly kind: 'basic'; readonly username: string; readonly password: Secret }
  /** A refresh token of the OAuth2 token protocol (`identitytoken`). */
  | { readonly kind: 'identity'; readonly token: Secret };

/** The user name that marks the password as an identity token (docker credential helpers). */
const TOKEN_USER = '<token>';

export const ANONYMOUS: Credential = { kind: 'anonymous' };
const NO_ENTRY: Credential = { kind: 'anonymous', lacks: 'entry' };
const EMPTY_ENTRY: Credential = { kind: 'anonymous', lacks: 'password' };
const STORED_ELSEWHERE: Credential = { kind: 'anonymous', lacks: 'program' };

/** Matches placeholders, not passwords: documents of registries propose them when the user name is the token. */
const NO_PASSWORD = /^(?:.{0,5}|x-oauth-basic|unused|nopass|nopassword|password)$/i;

/** Returns the user name of a credential; undefined if it has none, or if the user name itself may be a token. */
export function userOf(credential: Credential): string | undefined {
  if (credential.kind !== 'basic') return undefined;
  const { username } = credential;
  const password = credential.password.reveal();
  // Some configurations have the token in both fields.
  return NO_PASSWORD.test(password) || password === username ? undefined : username;
}

const FLAWS = {
  entry: 'the docker config has no entry for this registry',
  password:
    'the docker config has no password in the entry for this registry; docker may keep it in a credential store',
  program:
    'the docker config leaves the password to a program ("credsStore" or "credHelpers"), and this service runs none: write the account into "auths"',
} as const;

/**
 * Returns why a credential looks like a mistake; undefined if it does not. The text has no other fact about the password.
 */
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

/** Returns the flaw of a credential, except an empty entry: a docker config expresses anonymous access that way. */
export function mistakeOf(credential: Credential): string | undefined {
  return credential.kind === 'anonymous' && credential.lacks === 'password' ? undefined : flawOf(credential);
}

/** The message names the part that cannot be read, and never has its content. */
export class InvalidCredentialError extends Error {
  override readonly name = 'InvalidCredentialError';
}

/**
 * Returns the credential of base64 `dockerCfg` for a repository. The host and port of the entry must be those of the
 * registry, in any spelling. If several entries match, the one with the longest path wins that is a prefix of the
 * repository's path, component by component. Without a match the credential is anonymous, as in docker.
 */
export function credentialFor(
  dockerCfg: string,
  { scheme, host }: { readonly scheme: 'http' | 'https'; readonly host: string },
  path: RepositoryPath | undefined,
): Credential {
  if (dockerCfg.trim() === '') return ANONYMOUS;
  const wanted = registryKey(host, scheme);
  const { auths, helpers, hasStore } = parseConfig(dockerCfg);
  const fitting = (entries: readonly Entry[]) =>
    entries
      .map(([key, value]) => ({ ...parseKey(key), value }))
      .filter((entry) => entry.host !== undefined && registryKey(entry.host, scheme) === wanted)
      .filter((entry) => isPrefix(entry.path, path ?? ''))
      .sort((a, b) => b.path.length - a.path.length);
  const [entry] = fitting(auths);
  const credential = entry === undefined ? ANONYMOUS : parseAuth(entry.value);
  if (credential.kind !== 'anonymous') return credential;
  if (hasStore || fitting(helpers).length > 0) return STORED_ELSEWHERE;
  return entry === undefined && auths.length + helpers.length > 0 ? NO_ENTRY : credential;
}

type Entry = readonly [key: string, value: unknown];

interface DockerConfig {
  readonly auths: readonly Entry[];
  /** The programs that have the passwords of single registries. */
  readonly helpers: readonly Entry[];
  /** Whether a program has the passwords of all other registries. */
  readonly hasStore: boolean;
}

function parseConfig(dockerCfg: string): DockerConfig {
  const text = decodeBase64(dockerCfg, 'not base64');
  const config = parseJson(text, otherThanJson(text));
  const { auths, credHelpers, credsStore } = config;
  if (typeof (auths ?? {}) !== 'object' || Array.isArray(auths))
    throw new InvalidCredentialError('"auths" is not an object');
  return {
    auths: Object.entries(auths ?? oldEntries(config)),
    helpers: typeof credHelpers === 'object' ? Object.entries(credHelpers ?? {}) : [],
    hasStore: typeof credsStore === 'string' && credsStore !== '',
  };
}

/** Returns the entries of `.dockercfg`, the older form (`kubernetes.io/dockercfg`), which has no `auths` around them. */
function oldEntries(config: Record<string, unknown>): object {
  const isEntry = (value: unknown): boolean => typeof value === 'object' && value !== null && 'auth' in value;
  return Object.fromEntries(Object.entries(config).filter(([, value]) => isEntry(value)));
}

/** Windows writes UTF-16 by default; a value of `kubectl get -o yaml` is encoded as base64 a second time. */
function otherThanJson(text: string): string {
  if (text.includes('\0')) return 'base64 of UTF-16, and JSON is UTF-8';
  return /^ey[A-Za-z0-9+/]+={0,2}$/.test(text.replace(/\s+/g, '')) ? 'encoded as base64 twice' : 'not base64 of JSON';
}

/** `https://host:port/v1/` and `host:port` are the same registry; `host/path` is a part of it. */
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

/** RFC 7617: the first colon ends the user name; a password may have further colons. */
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
  // Some editors on Windows write a byte order mark at the beginning of a file.
  return Buffer.from(compact, 'base64')
    .toString('utf8')
    .replace(/^\ufeff/, '');
}

function parseJson(text: string, complaint: string): Record<string, unknown> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    // The error has no cause, because a JSON syntax error quotes the text, and this text has passwords.
    throw new InvalidCredentialError(complaint);
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw new InvalidCredentialError(complaint);
  return json as Record<string, unknown>;
}
