/** Connects a command to a running service: on this machine, in the hardened mode, or through the sidecar on port 4219. */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { get, type IncomingMessage } from 'node:http';
import { get as getSecurely } from 'node:https';
import { join } from 'node:path';
import { Secret } from '../../domain/credential.ts';
import { CommandFailure, parseServiceUrl, type Terminal, UsageError, type Values } from './command.ts';
import { codeOf } from './format.ts';

const LOOPBACK_PORT = '127.0.0.1:5080';
const SIDECAR_PORT = '127.0.0.1:4219';
/** The time limit for an answer, which the service makes from memory. */
const TIMEOUT_MS = 10_000;
/** The largest answer. The page of a service with 100 000 entries has some megabytes. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

/** The flags for access through the sidecar. */
export const SIDECAR_FLAGS = {
  'token-file': { type: 'string', value: 'FILE', about: 'file with the bearer token for its sidecar' },
  ca: { type: 'string', value: 'FILE', about: 'CA certificate (PEM) that signed the certificate of its sidecar' },
} as const;

export const ACCESS_FLAGS = {
  url: {
    type: 'string',
    value: 'URL',
    about: `address of the service; default http://${LOOPBACK_PORT}, https with --keys, https://${SIDECAR_PORT} with --token-file`,
  },
  ...SIDECAR_FLAGS,
  keys: {
    type: 'string',
    value: 'DIRECTORY',
    about: 'for the hardened mode: directory with ca.crt, client.crt and client.key (loopback-keys)',
  },
} as const;

export interface ServiceAccess {
  readonly origin: URL;
  readonly token: Secret | undefined;
  readonly ca: string | undefined;
  /** The certificate with which this command identifies itself. */
  readonly identity: { readonly cert: string; readonly key: string } | undefined;
}

/** @throws UsageError, or CommandFailure for unreadable files */
export async function readAccess(flags: Values<typeof ACCESS_FLAGS>): Promise<ServiceAccess> {
  const { url, keys, ca: caFile } = flags;
  const tokenFile = flags['token-file'];
  if (keys !== undefined && tokenFile !== undefined) throw new UsageError('either --keys or --token-file');
  const usual =
    tokenFile !== undefined ? `https://${SIDECAR_PORT}` : `http${keys === undefined ? '' : 's'}://${LOOPBACK_PORT}`;
  const origin = parseServiceUrl(url ?? usual);
  const isSecure = origin.protocol === 'https:';
  if (!isSecure && keys !== undefined) throw new UsageError('--keys needs https');
  if (!isSecure && tokenFile !== undefined) throw new UsageError('--token-file needs https: the token is a secret');
  if (!isSecure && caFile !== undefined) throw new UsageError('--ca needs https');
  const token = tokenFile === undefined ? undefined : await readToken(tokenFile);
  if (keys !== undefined) return { origin, token, ...(await readKeys(keys)) };
  return { origin, token, ca: caFile === undefined ? undefined : await readCertificates(caFile), identity: undefined };
}

/** @throws UsageError, CommandFailure */
async function readToken(path: string): Promise<Secret> {
  // The message must not have the token, although the history of the shell has it.
  if (/^ey[\w-]+\.[\w-]+\.[\w-]+$/.test(path)) throw new UsageError('--token-file is the token itself, not a path');
  const token = (await readText('token-file', path)).trim();
  if (!/^[\x21-\x7e]+$/.test(token)) {
    throw new CommandFailure(`--token-file ${path}: ${token === '' ? 'is empty' : 'does not hold exactly one token'}`);
  }
  return new Secret(token);
}

/** @throws UsageError, CommandFailure */
async function readCertificates(path: string): Promise<string> {
  if (path.includes('-----BEGIN ')) throw new UsageError('--ca is the certificate itself, not a path');
  const pem = await readText('ca', path);
  if (!pem.includes('-----BEGIN CERTIFICATE-----')) throw new CommandFailure(`--ca ${path}: has no PEM certificate`);
  return pem;
}

async function readText(flag: string, path: string): Promise<string> {
  return readFile(path, 'utf8').catch((cause: unknown) => {
    throw new CommandFailure(`--${flag} ${path}: cannot be read (${codeOf(cause)})`, { cause });
  });
}

/** @throws CommandFailure */
async function readKeys(directory: string): Promise<Pick<ServiceAccess, 'ca' | 'identity'>> {
  // The files are read one after the other, so that the same missing file is reported each time.
  const ca = await readText('keys', join(directory, 'ca.crt'));
  const cert = await readText('keys', join(directory, 'client.crt'));
  const key = await readText('keys', join(directory, 'client.key'));
  return { ca, identity: { cert, key } };
}

/** Resolves with the body of an answer with status 200. @throws CommandFailure for other answers, with cause and remedy */
export async function askService(
  { origin, token, ca, identity }: ServiceAccess,
  path: string,
  accept: string,
  { interrupted }: Pick<Terminal, 'interrupted'>,
): Promise<Buffer> {
  const signal = AbortSignal.any([interrupted, AbortSignal.timeout(TIMEOUT_MS)]);
  const authorization = token === undefined ? {} : { authorization: `Bearer ${token.reveal()}` };
  const url = new URL(path, origin);
  const options = {
    ...{ headers: { accept, ...authorization }, signal, agent: false as const },
    ...(ca !== undefined && { ca, allowPartialTrustChain: true }),
    ...identity,
  };
  try {
    const request = url.protocol === 'https:' ? getSecurely(url, options) : get(url, options);
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    if (response.statusCode !== 200) throw refusal(origin, url.pathname, response, token !== undefined);
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of response as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      size += chunk.byteLength;
      if (size > MAX_ANSWER_BYTES) throw new CommandFailure(`${origin.origin} answered with more than 64 MiB`);
    }
    return Buffer.concat(chunks);
  } catch (error) {
    if (interrupted.aborted || error instanceof CommandFailure) throw error;
    throw new CommandFailure(`${origin.origin} does not answer: ${reasonOf(error, ca !== undefined)}`, {
      cause: error,
    });
  }
}

/** Explains a status of the sidecar by its possible causes, because the sidecar sends nothing else. */
function refusal(origin: URL, path: string, response: IncomingMessage, hasToken: boolean): CommandFailure {
  response.destroy();
  const { statusCode = 0 } = response;
  const remedy =
    statusCode === 401
      ? hasToken
        ? ': it does not accept the token, which may have expired or belong to another cluster'
        : ': it requires a token, see --token-file'
      : statusCode === 403
        ? `: the user of the token may not get ${path}, which a ClusterRole of the chart allows (docs/security.md)`
        : '';
  return new CommandFailure(`${origin.origin} answered with status ${String(statusCode)}${remedy}`);
}

/** Codes of OpenSSL. */
const UNTRUSTED = [
  ...['SELF_SIGNED_CERT_IN_CHAIN', 'DEPTH_ZERO_SELF_SIGNED_CERT', 'UNABLE_TO_GET_ISSUER_CERT'],
  ...['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'CERT_SIGNATURE_FAILURE'],
];

/** Includes the code, because the messages of OpenSSL do not tell the cause. */
function reasonOf(error: unknown, hasCa: boolean): string {
  if (!(error instanceof Error)) return 'unknown error';
  if (error.name === 'AbortError') return `no answer within ${String(TIMEOUT_MS / 1000)} s`;
  if (!('code' in error) || typeof error.code !== 'string') return error.message;
  const { code } = error;
  if (UNTRUSTED.includes(code)) {
    return `${code}: its certificate is not signed by ${hasCa ? 'the given CA' : 'a trusted CA, see --ca'}`;
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') return `${code}: its certificate is for another host`;
  if (code === 'ECONNREFUSED') return `${code}: no service listens there`;
  return code;
}
