/** Decides which token servers may get the credentials of a registry (CVE-2020-15157 and similar ones). */
import { isIP } from 'node:net';
import { dialledHost, type Registry } from '../../domain/upstream.ts';

type Trust =
  /** The realm may get the credentials. */
  | 'trusted'
  /** May be asked for an anonymous token. */
  | 'stranger'
  /** Must not even be contacted: a downgrade, or an address that only a server inside would name. */
  | 'refused';

/** `trustedRealms` are `host` or `host:port`, as `parseTrustedRealm` writes them. */
export async function judgeRealm(realm: URL, registry: Registry, trustedRealms: readonly string[]): Promise<Trust> {
  if (realm.username !== '' || realm.password !== '') return 'refused';
  if (realm.protocol !== 'https:' && realm.protocol !== `${registry.scheme}:`) return 'refused';
  const { host, hostname: own } = new URL(`${registry.scheme}://${dialledHost(registry)}`);
  if (realm.host === host) return 'trusted';
  if (isTrustedRealm(realm, trustedRealms)) return 'trusted';
  if (realm.hostname === own) return realm.protocol === 'https:' ? 'trusted' : 'stranger';
  if (isAddress(realm.hostname) || /(^|\.)localhost\.?$/.test(realm.hostname)) return 'refused';
  return (await isOfOwner(realm.hostname, own)) ? 'trusted' : 'stranger';
}

/**
 * Whether a name belongs to the owner of a registry: it is below the parent domain (registry-1.docker.io and auth.docker.io,
 * registry.gitlab.com and gitlab.com). If the parent is a public suffix, below which anyone can register a name (co.uk,
 * github.io), the name must be below the registry. An address and a public suffix have no owner.
 */
async function isOfOwner(name: string, registry: string): Promise<boolean> {
  // The list of publicsuffix.org costs 1 MB and 10 ms, and few registries name a realm at another host.
  const { getPublicSuffix } = await import('tldts');
  /** Includes the private part of the list (github.io, fly.dev). A single label is always a public suffix. */
  const isPublicSuffix = (domain: string): boolean => {
    const host = domain.replace(/\.$/, '');
    return getPublicSuffix(host, { allowPrivateDomains: true, validateHostname: false }) === host;
  };
  if (isAddress(registry) || isPublicSuffix(registry)) return false;
  const parent = registry.slice(registry.indexOf('.') + 1);
  const domain = isPublicSuffix(parent) ? registry : parent;
  return name === domain || name.endsWith(`.${domain}`);
}

function isAddress(hostname: string): boolean {
  return isIP(hostname) !== 0 || hostname.startsWith('[');
}

/**
 * Returns `host` or `host:port` for any spelling, with or without a scheme; `https://host` means port 443. Undefined for a
 * text that no token server can match: with a path, a wildcard, a user, or a port out of range.
 */
export function parseTrustedRealm(text: string): string | undefined {
  const [, scheme, host, port] =
    /^(?:(https?):\/\/)?([^\s/:?#@*\\%]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?\/?$/i.exec(text) ?? [];
  if (host === undefined || (port !== undefined && !isPort(port))) return undefined;
  const hostname = URL.parse(`https://${host}`)?.hostname;
  if (hostname === undefined || hostname.startsWith('.')) return undefined;
  const implied = scheme === undefined ? undefined : scheme.toLowerCase() === 'https' ? '443' : '80';
  const effective = port === undefined ? implied : String(Number(port));
  return effective === undefined ? hostname : `${hostname}:${effective}`;
}

function isPort(text: string): boolean {
  return Number(text) > 0 && Number(text) <= 65_535;
}

/** Whether one of the `entries`, as `parseTrustedRealm` writes them, names the host and port of a URL. */
export function isTrustedRealm({ origin, protocol }: URL, entries: readonly string[]): boolean {
  return entries.some((entry) => originOf(entry, protocol) === origin);
}

/** Without a port an entry means the default port of either scheme; 443 and 80 mean HTTPS and HTTP, as in a URL. */
function originOf(entry: string, protocol: string): string | undefined {
  const [, port] = /:(443|80)$/.exec(entry) ?? [];
  const scheme = port === undefined ? protocol : port === '443' ? 'https:' : 'http:';
  return URL.parse(`${scheme}//${entry}`)?.origin;
}
