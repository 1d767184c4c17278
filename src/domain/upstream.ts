/** Where a repository really is and how to enter it. */
import { X509Certificate } from 'node:crypto';
import { type Credential, credentialFor, flawOf, InvalidCredentialError, type Secret, userOf } from './credential.ts';
import { joinPath, parseRepository, registryHost, repositoryIn, type RepositoryPath } from './reference.ts';

/**
 * One registry and one way into it. Configuration makes one object for as long as nothing of it changes, and a new one
 * when anything does: adapters key connections and tokens by this identity, so a rotated password leaves none behind.
 */
export interface Registry {
  readonly scheme: 'http' | 'https';
  /** As a URL of the scheme spells it: in lower case, and without the scheme's default port. */
  readonly host: string;
  readonly credential: Credential;
  /** PEM certificates that are trusted besides the default roots. */
  readonly ca: readonly string[];
  /** The server that answers for `host`, where that is another one; logs and metrics name `host` all the same. */
  readonly dialled?: DialledServer;
  /** Where its API is and how it is told what is meant, where that is not as the specification says. */
  readonly api?: RegistryApi;
}

/** The API of a mirror, as containerd asks mirrors. */
export interface RegistryApi {
  /** A path without slashes at its ends, instead of `v2`. */
  readonly root: string;
  /** The host of the registry that is mirrored, for the parameter `ns`. */
  readonly namespace?: string;
  /** Shown with each request, unasked, to this host only: for a proxy before it that knows tokens and no challenge. */
  readonly token?: Secret;
}

/** A server of the cluster that answers for a registry; credential and certificates are those of the server. */
export interface DialledServer {
  /** The registry agent of this machine, or the store behind all agents. */
  readonly by: 'agent' | 'store';
  /** Spelled as the registry's own. */
  readonly host: string;
  /** Whether the default roots are not trusted beside `ca`. */
  readonly trustsCaAlone: boolean;
  /** Asked once instead, when no process listens at `host`. */
  readonly otherwise?: Registry;
}

export interface Upstream {
  readonly registry: Registry;
  readonly repository: RepositoryPath | undefined;
}

/** The fields of a ModuleSource's `spec.registry`, as text from outside. */
export interface UpstreamFields {
  readonly repo: string;
  /** `HTTP` or `HTTPS` in either case; `HTTPS` when absent. */
  readonly scheme?: string | undefined;
  /** Base64 of a docker `config.json`; empty or absent for anonymous access. */
  readonly dockerCfg?: string | undefined;
  /** PEM, any number of certificates. */
  readonly ca?: string | undefined;
}

/** A configured registry that cannot be used. The message names the field and what is wrong, never its content. */
export class InvalidUpstreamError extends Error {
  override readonly name = 'InvalidUpstreamError';
  readonly field: keyof UpstreamFields;
  /** The message without the field, for a reader that names it already. */
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

/** Where connections to the registry lead. */
export function dialledHost({ host, dialled }: Pick<Registry, 'host' | 'dialled'>): string {
  return dialled?.host ?? host;
}

/** Whether a registry is entered anonymously because its docker config has no entry for it. */
export function isFallback({ credential }: Registry): boolean {
  return credential.kind === 'anonymous' && credential.lacks === 'entry';
}

/** The repository `path` below the upstream's own; the registry, and so its connections, stay the same. */
export function below(upstream: Upstream, path: RepositoryPath | undefined): Upstream {
  const { registry, repository } = upstream;
  const joined = path === undefined ? repository : joinPath(repository, path);
  const found = joined === undefined ? undefined : repositoryIn(registry.host, joined);
  return found === repository ? upstream : { registry, repository: found };
}

/** The repository without its last segment; undefined when nothing would be left of it. */
export function parentOf({ registry, repository }: Upstream): Upstream | undefined {
  const end = repository?.lastIndexOf('/') ?? -1;
  return end < 0 ? undefined : { registry, repository: repository?.slice(0, end) as RepositoryPath };
}

/** An upstream without what opens it. */
export interface UpstreamDescription {
  readonly scheme: 'http' | 'https';
  readonly host: string;
  readonly repository: RepositoryPath | undefined;
  readonly credential: {
    readonly kind: 'anonymous' | 'basic' | 'identity';
    readonly user: string | undefined;
    /** Why it looks like a mistake. */
    readonly flaw?: string;
  };
  /** Certificates that are trusted besides the default roots. */
  readonly certificates: number;
  /** The server that answers for `host`, where that is another one; credential and certificates are those of the server. */
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
    throw new InvalidUpstreamError('repo', 'must be host[:port][/path]', { cause });
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
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g);
  if (blocks === null) {
    const isPath = /^\.{0,2}\/\S+$|^\S+\.(?:crt|cer|pem)$/.test(pem.trim());
    throw new InvalidUpstreamError('ca', isPath ? 'is a path, and must be the PEM itself' : 'has no PEM certificate');
  }
  // Bundles repeat certificates, and each parsed one costs 50 us.
  return [...new Set(blocks)].map((block) => {
    try {
      return new X509Certificate(block).toString();
    } catch (cause) {
      throw new InvalidUpstreamError('ca', 'has a certificate that cannot be read', { cause });
    }
  });
}
