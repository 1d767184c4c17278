/** An entry of the setting `registry.trustedRealms`: the host of a token server, in the one spelling that is compared. */

/**
 * `host` or `host:port` out of any spelling of them, with a scheme or without: `https://host` means port 443. Undefined
 * for what no token server can match: a path, a wildcard, a user, a port out of range.
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
