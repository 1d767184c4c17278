/** Whether a token server that a registry names may see that registry's credentials (CVE-2020-15157 and its siblings). */
import { isIP } from 'node:net';
import type { Registry } from '../../domain/upstream.ts';

export type Trust =
  /** May see the credentials. */
  | 'trusted'
  /** May be asked for an anonymous token. */
  | 'stranger'
  /** Must not even be contacted: a downgrade, or an address that only somebody inside would name. */
  | 'refused';

export function judgeRealm(realm: URL, registry: Registry, trustedRealms: readonly string[]): Trust {
  if (realm.username !== '' || realm.password !== '') return 'refused';
  if (realm.protocol !== 'https:' && realm.protocol !== `${registry.scheme}:`) return 'refused';
  if (realm.host === new URL(`${registry.scheme}://${registry.host}`).host) return 'trusted';
  if (trustedRealms.includes(realm.host)) return 'trusted';
  const own = hostnameOf(registry);
  if (realm.hostname === own) return realm.protocol === 'https:' ? 'trusted' : 'stranger';
  if (isAddress(realm.hostname) || /(^|\.)localhost\.?$/.test(realm.hostname)) return 'refused';
  return areRelatives(realm.hostname, own) ? 'trusted' : 'stranger';
}

function hostnameOf({ scheme, host }: Registry): string {
  return new URL(`${scheme}://${host}`).hostname;
}

/** registry-1.docker.io and auth.docker.io; registry.gitlab.com and gitlab.com. A parent of one label is nobody's own. */
function areRelatives(realm: string, registry: string): boolean {
  const parent = registry.slice(registry.indexOf('.') + 1);
  return !isAddress(registry) && parent.includes('.') && (realm === parent || realm.endsWith(`.${parent}`));
}

function isAddress(hostname: string): boolean {
  return isIP(hostname) !== 0 || hostname.startsWith('[');
}
