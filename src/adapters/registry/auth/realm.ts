/** Whether a token server that a registry names may see that registry's credentials (CVE-2020-15157 and its siblings). */
import { isIP } from 'node:net';
import { getPublicSuffix } from 'tldts';
import { dialledHost, type Registry } from '../../../domain/upstream.ts';
import { isTrustedRealm } from './trusted-realm.ts';

export type Trust =
  /** May see the credentials. */
  | 'trusted'
  /** May be asked for an anonymous token. */
  | 'stranger'
  /** Must not even be contacted: a downgrade, or an address that only a server inside would name. */
  | 'refused';

/** `trustedRealms` are `host` or `host:port`, as `parseTrustedRealm` writes them. */
export function judgeRealm(realm: URL, registry: Registry, trustedRealms: readonly string[]): Trust {
  if (realm.username !== '' || realm.password !== '') return 'refused';
  if (realm.protocol !== 'https:' && realm.protocol !== `${registry.scheme}:`) return 'refused';
  const { host, hostname: own } = new URL(`${registry.scheme}://${dialledHost(registry)}`);
  if (realm.host === host) return 'trusted';
  if (isTrustedRealm(realm, trustedRealms)) return 'trusted';
  if (realm.hostname === own) return realm.protocol === 'https:' ? 'trusted' : 'stranger';
  if (isAddress(realm.hostname) || /(^|\.)localhost\.?$/.test(realm.hostname)) return 'refused';
  return isInside(realm.hostname, domainOf(own)) ? 'trusted' : 'stranger';
}

/**
 * The names that belong to the same owner as a registry: those below its parent (registry-1.docker.io and auth.docker.io,
 * registry.gitlab.com and gitlab.com), or below itself when the parent is a public suffix, under which anyone may
 * register a name (co.uk, github.io). Undefined when there is no owner: for an address, and for a public suffix itself.
 */
function domainOf(registry: string): string | undefined {
  if (isAddress(registry) || isPublicSuffix(registry)) return undefined;
  const parent = registry.slice(registry.indexOf('.') + 1);
  return isPublicSuffix(parent) ? registry : parent;
}

/** By the list of publicsuffix.org, its private part (github.io, fly.dev) included. A single label is always one. */
function isPublicSuffix(name: string): boolean {
  const host = name.replace(/\.$/, '');
  return getPublicSuffix(host, { allowPrivateDomains: true, validateHostname: false }) === host;
}

function isInside(name: string, domain: string | undefined): boolean {
  return domain !== undefined && (name === domain || name.endsWith(`.${domain}`));
}

function isAddress(hostname: string): boolean {
  return isIP(hostname) !== 0 || hostname.startsWith('[');
}
