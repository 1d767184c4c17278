/** The list of mirrors in the settings file, parsed once. */
import * as z from 'zod';
import { parseHost } from '../../domain/reference.ts';
import { InvalidUpstreamError, parseCertificates } from '../../domain/upstream.ts';
import type { MirrorSettings } from './mirror.ts';

const API_ROOT = 'v2';

type Endpoint = Pick<MirrorSettings, 'scheme' | 'host' | 'root'>;

/** A path is the root of the API without additions, as with `override_path` in containerd's hosts.toml. */
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

const mirrorFields = z.strictObject({
  of: z.string(),
  endpoint: z.string(),
  ca: z.string().default(''),
  usernameFile: z.string().default(''),
  passwordFile: z.string().default(''),
  tokenFile: z.string().default(''),
  namespaceParameter: z.boolean().default(true),
  fallback: z.boolean().default(true),
});

export const MIRROR_FIELDS = Object.keys(mirrorFields.shape);

type Fields = z.output<typeof mirrorFields>;

function parseOf(text: string): string | undefined {
  return text === '*' ? text : parseHost(text);
}

/** Yields all mistakes; a field may have a wrong type, which the schema has reported. */
function* mistakesOf(fields: Partial<Record<keyof Fields, unknown>>): Generator<[keyof Fields, string]> {
  const isGiven = (field: keyof Fields): boolean => (fields[field] ?? '') !== '';
  if (typeof fields.of === 'string' && parseOf(fields.of) === undefined)
    yield ['of', 'must be the host[:port] of a registry, or "*" for all'];
  const endpoint = typeof fields.endpoint === 'string' ? parseEndpoint(fields.endpoint) : undefined;
  if (typeof fields.endpoint === 'string' && endpoint === undefined)
    yield ['endpoint', 'must be http:// or https://, a host and perhaps a path, without a user or a query'];
  if (isGiven('usernameFile') !== isGiven('passwordFile')) {
    const missing = isGiven('usernameFile') ? 'passwordFile' : 'usernameFile';
    yield [missing, 'usernameFile and passwordFile go together'];
  }
  if (isGiven('tokenFile') && isGiven('usernameFile'))
    yield ['tokenFile', 'cannot be used with usernameFile: a mirror takes an account or a token'];
  if (isGiven('tokenFile') && endpoint?.scheme === 'http' && !isLoopback(endpoint.host))
    yield ['tokenFile', 'needs an endpoint with https://, because a token may be valid for more than this mirror'];
  try {
    if (typeof fields.ca === 'string') parseCertificates(fields.ca);
  } catch (error) {
    if (!(error instanceof InvalidUpstreamError)) throw error;
    yield ['ca', error.reason];
  }
}

const mirror = mirrorFields
  .superRefine(
    (fields, context) => {
      for (const [field, message] of mistakesOf(fields)) context.addIssue({ code: 'custom', path: [field], message });
    },
    // The check runs even if other fields have mistakes.
    { when: ({ value }) => typeof value === 'object' && value !== null },
  )
  .transform((fields): MirrorSettings => {
    const { usernameFile, passwordFile, tokenFile, namespaceParameter, fallback } = fields;
    const [of, endpoint] = [parseOf(fields.of), parseEndpoint(fields.endpoint)];
    if (of === undefined || endpoint === undefined) return z.NEVER;
    const files = filesOf({ usernameFile, passwordFile, tokenFile });
    return { of, ...endpoint, ca: parseCertificates(fields.ca), files, namespaceParameter, fallback };
  });

export const mirrorsSchema = z.array(mirror);
