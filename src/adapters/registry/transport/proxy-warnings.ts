/** Mistakes in the proxy variables, which otherwise look like a fault of the registry. A URL may hold a password: none is shown. */
import { isIP } from 'node:net';
import { type ProxyVariables, readVariable } from './agents.ts';
import { parseProxy } from './proxy.ts';

const NAMES = ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY'] as const;

/** Each sentence begins with its variable. */
export function proxyWarnings(environment: ProxyVariables): string[] {
  return [
    ...Object.keys(environment).flatMap(misspelled),
    ...NAMES.slice(0, 2).flatMap((name) => unusableProxy(name, readVariable(environment, name))),
    ...readVariable(environment, 'NO_PROXY').split(',').flatMap(uselessEntry),
  ];
}

function misspelled(name: string): string[] {
  const upper = NAMES.find((each) => each === name.toUpperCase());
  if (upper === undefined || name === upper || name === upper.toLowerCase()) return [];
  return [`${name}: is not read, as its name is neither ${upper} nor ${upper.toLowerCase()}`];
}

function unusableProxy(name: string, text: string): string[] {
  try {
    parseProxy(text);
    return [];
  } catch (error) {
    return [`${name}: ${error instanceof Error ? error.message : 'unknown error'}`];
  }
}

/** Go and this service take such an entry for a name that no host has. */
function uselessEntry(entry: string, index: number): string[] {
  const mistake = mistakeIn(entry.trim());
  return mistake === undefined ? [] : [`NO_PROXY: entry ${String(index + 1)} matches no host: ${mistake}`];
}

function mistakeIn(entry: string): string | undefined {
  if (/[\s;]/.test(entry)) return 'entries are separated by commas';
  if (entry.includes('://')) return 'it is a URL, and must be a host, a domain, an address or a network';
  const [address = '', prefix = ''] = entry.split('/', 2);
  const isNetwork = isIP(address) !== 0 && /^\d{1,3}$/.test(prefix);
  return entry.includes('/') && !isNetwork ? 'only networks such as 10.0.0.0/8 have a slash' : undefined;
}
