/** The list of mirrors in the settings file, parsed once. */
import * as z from 'zod';
import { parseHost } from '../../domain/reference.ts';
import { InvalidUpstreamError, parseCertificates } from '../../domain/upstream.ts';
import type { MirrorSettings } from './mirror.ts';

const API_ROOT = 'v2';

type Endpoint = Pick<MirrorSettings, 'scheme' | 'host' | 'root'>;

/** A path is the root of the API as it is, as with `override_path` in containerd's hosts.toml. */
function parseEndpoint(text: string): Endpoint | undefined {
  const url = URL.parse(text);
  const scheme = url?.protocol === 'https:' ? 'https' : url?.protocol === 'http:' ? 'http' : undefined;
  if (url === null || scheme === undefined || parseHost(url.host) === undefined) return undefined;
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') return undefined;
  const path = url.pathname.replaceAll(/^\/|\/$/g, '');
  if (!/^[\w.~/-]*$/.test(path) || path.includes('//')) return undefined;
  return { scheme, host: url.host, root: path === '' ? API_ROOT : path };
}

function isLoopback(host: string): boolean {
  return /^(?:127(?:\.\d+){3}|\[::1\]|localhost)(?::\d+)?$/.test(host);
}

function filesOf({
  usernameFile,
  passwordFile,
  tokenFile,
}: Readonly<Record<'usernameFile' | 'passwordFile' | 'tokenFile', string>>): MirrorSettings['files'] {
  if (tokenFile !== '') return { token: tokenFile };
  return usernameFile === '' ? undefined : { username: usernameFile, password: passwordFile };
}

const mirror = z
  .strictObject({
    of: z.string(),
    endpoint: z.string(),
    ca: z.string().default(''),
    usernameFile: z.string().default(''),
    passwordFile: z.string().default(''),
    tokenFile: z.string().default(''),
    namespaceParameter: z.boolean().default(true),
    fallback: z.boolean().default(true),
  })
  .transform((fields, context): MirrorSettings => {
    const complain = (path: string, message: string): never => {
      context.issues.push({ code: 'custom', message, path: [path], input: undefined });
      return z.NEVER;
    };
    const { usernameFile, passwordFile, tokenFile, namespaceParameter, fallback } = fields;
    const of = fields.of === '*' ? '*' : parseHost(fields.of);
    if (of === undefined) return complain('of', 'must be the host[:port] of a registry, or "*" for all');
    const endpoint = parseEndpoint(fields.endpoint);
    if (endpoint === undefined) {
      return complain('endpoint', 'must be http:// or https://, a host and perhaps a path, without a user or a query');
    }
    if ((usernameFile === '') !== (passwordFile === '')) {
      return complain(
        usernameFile === '' ? 'usernameFile' : 'passwordFile',
        'usernameFile and passwordFile go together',
      );
    }
    if (tokenFile !== '' && usernameFile !== '') {
      return complain('tokenFile', 'is of no use with usernameFile: a mirror is entered by an account or by a token');
    }
    if (tokenFile !== '' && endpoint.scheme === 'http' && !isLoopback(endpoint.host)) {
      return complain('tokenFile', 'needs an endpoint with https://, since a token opens more than this mirror');
    }
    try {
      const files = filesOf({ usernameFile, passwordFile, tokenFile });
      return { of, ...endpoint, ca: parseCertificates(fields.ca), files, namespaceParameter, fallback };
    } catch (error) {
      if (!(error instanceof InvalidUpstreamError)) throw error;
      return complain('ca', error.message.replace(/^ca: /, ''));
    }
  });

export const mirrorsSchema = z.array(mirror);
