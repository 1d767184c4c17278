/** The location of a repository and its credential. */
import { X509Certificate } from 'node:crypto';
import { type Credential, credentialFor, flawOf, InvalidCredentialError, type Secret, userOf } from './credential.ts';
import { joinPath, parseRepository, registryHost, repositoryIn, type RepositoryPath } from './reference.ts';

/**
 * One registry with one credential. The object stays the same until the configuration changes. Adapters key connections and
 * tokens by its identity, so that a rotated password leaves none behind.
 */
export interface Registry {
  readonly scheme: 'http' | 'https';
  /** The host as in a URL of the scheme: in lower case, and without the scheme's default port. */
  readonly host: string;
  readonly credential: Credential;
  /** PEM certificates that are trusted in addition to the default roots. */
  readonly ca: readonly string[];
  /** The server that answers for `host`, if it is another one; logs and metrics still have `host`. */
  readonly dialled?: DialledServer;
  /** The API of the registry, if it differs from the specification. */
  readonly api?: RegistryApi;
}

/** The API of a mirror, with requests as containerd sends them. */
interface RegistryApi {
  /** The path of the API instead of `v2`, without slashes at its ends. */
  readonly root: string;
  /** The host of the mirrored registry, for the parameter `ns`. */
  readonly namespace?: string;
  /**
   * Sent with each request, without a challenge, to this host only: for a proxy that accepts tokens and sends no challenge.
   */
  readonly token?: Secret;
}

/** A server of the cluster that answers for a registry; its credential and certificates are used. */
export interface DialledServer {
  /** The registry agent of this machine, or the store behind all agents. */
  readonly by: 'agent' | 'store';
  /** The host and port, written as the host of a registry. */
  readonly host: string;
  /** Whether `ca` replaces the default roots. */
  readonly trustsCaAlone: boolean;
  /** The registry to ask once instead, if no process listens at `host`. */
  readonly otherwise?: Registry;
}

export interface Upstream {
  readonly registry: Registry;
  readonly repository: RepositoryPath | undefined;
}

/** The fields of a ModuleSource's `spec.registry`, as unparsed text. */
export interface UpstreamFields {
  readonly repo: string;
  /** `HTTP` or `HTTPS` in upper or lower case; `HTTPS` if absent. */
  readonly scheme?: string | undefined;
  /** A docker `config.json` in base64; empty or absent for anonymous access. */
  readonly dockerCfg?: string | undefined;
  /** Any number of certificates in PEM. */
  readonly ca?: string | undefined;
}

/** A configured registry that cannot be used. The message names the field and the mistake, never the content. */
export class InvalidUpstreamError extends Error {
  override readonly name = 'InvalidUpstreamError';
  readonly field: keyof UpstreamFields;
  /** The message without the field, for a reader that names the field itself. */
  readonly reason: string;
  constructor(field: keyof UpstreamFields, reason: string, options?: ErrorOptions) {
    super(`${field}: ${reason}`, options);
    this.field = field;
    this.reason = reason;
  }
}

/** @throws InvalidUpstreamError */
export function parseUpstream(fields: UpstreamFields): Upstream {
  const scheme = parseScheme(fields.scheme);
  const { host: named, path } = parseRepo(fields.repo);
  const host = registryHost(named, scheme);
  return {
    registry: {
      scheme,
      host,
      credential: parseCredential(fields.dockerCfg, { scheme, host }, path),
      ca: parseCertificates(fields.ca),
    },
    repository: path,
  };
}

/** Returns the host to which connections to the registry lead. */
export function dialledHost({ host, dialled }: Pick<Registry, 'host' | 'dialled'>): string {
  return dialled?.host ?? host;
}

/** Whether access is anonymous because the docker config has entries for other registries only. */
export function isFallback({ credential }: Registry): boolean {
  return credential.kind === 'anonymous' && credential.lacks === 'entry';
}

/**
 * Returns the repository `path` below the upstream's repository; the registry object, and so its connections, stay the same.
 */
export function below(upstream: Upstream, path: RepositoryPath | undefined): Upstream {
  const { registry, repository } = upstream;
  const joined = path === undefined ? repository : joinPath(repository, path);
  const found = joined === undefined ? undefined : repositoryIn(registry.host, joined);
  return found === repository ? upstream : { registry, repository: found };
}

/** Returns the repository without its last segment; undefined if nothing remains. */
export function parentOf({ registry, repository }: Upstream): Upstream | undefined {
  const end = repository?.lastIndexOf('/') ?? -1;
  return end < 0 ? undefined : { registry, repository: repository?.slice(0, end) as RepositoryPath };
}

/** An upstream without secrets. */
export interface UpstreamDescription {
  readonly scheme: 'http' | 'https';
  readonly host: string;
  readonly repository: RepositoryPath | undefined;
  readonly credential: {
    readonly kind: 'anonymous' | 'basic' | 'identity';
    readonly user: string | undefined;
    /** Why the credential looks like a mistake. */
    readonly flaw?: string;
  };
  /** The number of certificates that are trusted in addition to the default roots. */
  readonly certificates: number;
  /** The server that answers for `host`, if it is another one; its credential and certificates are used. */
  readonly dialled?: Pick<DialledServer, 'by' | 'host'>;
}

export function describeUpstream({ registry, repository }: Upstream): UpstreamDescription {
  const { scheme, host, credential, ca, dialled } = registry;
  const flaw = flawOf(credential);
  return {
    scheme,
    host,
    repository,
    credential: { kind: credential.kind, user: userOf(credential), ...(flaw !== undefined && { flaw }) },
    certificates: ca.length,
    ...(dialled && { dialled: { by: dialled.by, host: dialled.host } }),
  };
}

function parseRepo(repo: string): ReturnType<typeof parseRepository> {
  try {
    return parseRepository(repo.replace(/\/$/, ''));
  } catch (cause) {
    const rule = cause instanceof Error ? cause.message.replace(/^repository /, '') : '';
    throw new InvalidUpstreamError('repo', rule, { cause });
  }
}

function parseScheme(scheme = 'HTTPS'): 'http' | 'https' {
  const lower = scheme.toLowerCase();
  if (lower !== 'http' && lower !== 'https') throw new InvalidUpstreamError('scheme', 'must be HTTP or HTTPS');
  return lower;
}

function parseCredential(
  dockerCfg: string | undefined,
  registry: Pick<Registry, 'scheme' | 'host'>,
  path: RepositoryPath | undefined,
): Credential {
  try {
    return credentialFor(dockerCfg ?? '', registry, path);
  } catch (error) {
    if (!(error instanceof InvalidCredentialError)) throw error;
    throw new InvalidUpstreamError('dockerCfg', error.message);
  }
}

/** @throws InvalidUpstreamError */
export function parseCertificates(pem = ''): string[] {
  if (pem.trim() === '') return [];
  const bodies = pem
    .matchAll(/-----BEGIN CERTIFICATE-----([^-]+)-----END CERTIFICATE-----/g)
    .map(([, body = '']) => body);
  // Bundles repeat certificates, and parsing one costs 50 us.
  const certificates = new Set(bodies);
  if (certificates.size === 0) throw new InvalidUpstreamError('ca', otherThanPem(pem.trim()));
  return [...certificates].map((body) => {
    try {
      // OpenSSL needs the lines; YAML and shells can leave blanks or a written "\n" in place of their ends.
      return new X509Certificate(Buffer.from(body.replaceAll('\\n', ''), 'base64')).toString();
    } catch (cause) {
      throw new InvalidUpstreamError('ca', 'has a certificate that cannot be read', { cause });
    }
  });
}

function otherThanPem(text: string): string {
  if (/^\.{0,2}\/\S+$|^\S+\.(?:crt|cer|pem)$/.test(text)) return 'is a path, and must be the PEM itself';
  // Base64 of "-----BEGIN C".
  return text.startsWith('LS0tLS1CRUdJTiBD')
    ? 'is base64 of a PEM, and must be the PEM itself'
    : 'has no PEM certificate';
}
