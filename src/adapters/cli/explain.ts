/** `explain`: asks a running service for the outcome that a request for a package would have, and for the reason. */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { get, type IncomingMessage } from 'node:http';
import { get as getSecurely } from 'node:https';
import { join } from 'node:path';
import { text as readText } from 'node:stream/consumers';
import { type PackageRequest, parseRepositoryName, parseRepositoryPath } from '../../domain/reference.ts';
import { parseDigest } from '../../domain/descriptor.ts';
import { InvalidArgumentError } from '../../domain/errors.ts';
import {
  command,
  CommandFailure,
  EXIT_CODE,
  EXIT_CODES,
  parseServiceUrl,
  type Terminal,
  UsageError,
  type Values,
} from './command.ts';

/** It answers out of its memory. */
const TIMEOUT_MS = 10_000;
const DEFAULT_URL = 'http://127.0.0.1:5080';
const HARDENED_URL = 'https://127.0.0.1:5080';

const FLAGS = {
  digest: { type: 'string', value: 'DIGEST', about: 'of an image manifest, or of an index of them' },
  repository: { type: 'string', value: 'REPO', about: 'as requests name it; the default registry without it' },
  path: { type: 'string', value: 'PATH', about: 'below the repository' },
  url: { type: 'string', value: 'URL', about: `of the service; ${DEFAULT_URL} without it, https with --keys` },
  keys: {
    type: 'string',
    value: 'DIRECTORY',
    about: 'of the hardened mode: has ca.crt, client.crt and client.key (loopback-keys)',
  },
  json: { type: 'boolean', about: 'print the JSON document of the service (docs/openapi.yaml)' },
} as const;

export const EXPLAIN = command({
  about: `Asks a running service, on this machine or at --url. The service answers from its own state: it asks no registry \
and fetches nothing. Ages are measured by its clock.`,
  flags: FLAGS,
  examples: [
    { to: 'why a package of the default registry does not come, on a master', run: 'explain --digest sha256:…' },
    {
      to: 'the same where the loopback port is hardened',
      run: 'explain --keys /etc/loopback --digest sha256:…',
    },
    {
      to: 'of a module, through a port that kubectl forwards, for a script',
      run: 'explain --digest sha256:… --path modules/ingress --url http://127.0.0.1:8080 --json',
    },
  ],
  exits: {
    ...EXIT_CODES,
    0: 'the package would be served',
    1: 'wrong flags, or the service did not answer',
    2: 'the request would fail',
  },
  async run({ flags }, terminal) {
    const url = explainUrl(flags);
    const mediaType = flags.json === true ? 'application/json' : 'text/plain';
    const answer = await ask(url, mediaType, flags.keys, terminal);
    const isFailure = flags.json === true ? isFailedDocument(answer) : isFailedText(answer);
    if (isFailure === undefined) throw new CommandFailure(`${url.origin} did not answer with an explanation`);
    // A text from elsewhere must not control the terminal.
    terminal.stdout.write(flags.json === true ? answer : answer.replaceAll(/[^\P{C}\n]/gu, '?'));
    return isFailure ? EXIT_CODE.faulty : EXIT_CODE.done;
  },
});

/** @throws UsageError */
function explainUrl(flags: Values<typeof FLAGS>): URL {
  const service = parseServiceUrl(flags.url ?? (flags.keys === undefined ? DEFAULT_URL : HARDENED_URL));
  if (flags.keys !== undefined && service.protocol !== 'https:') throw new UsageError('--keys needs https');
  const url = new URL('/explain', service);
  const { digest, repository, path } = requestOf(flags);
  url.search = new URLSearchParams({ digest, repository, ...(path !== undefined && { path }) }).toString();
  return url;
}

/** Read here as the service reads it. */
function requestOf({ digest, repository = '', path = '' }: Values<typeof FLAGS>): PackageRequest {
  if (digest === undefined) throw new UsageError('--digest is missing');
  try {
    return {
      digest: parseDigest(digest),
      repository: parseRepositoryName(repository),
      path: path === '' ? undefined : parseRepositoryPath(path),
    };
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    throw new UsageError(`--${error.message}`, { cause: error });
  }
}

/** @throws CommandFailure */
async function ask(url: URL, mediaType: string, keys: string | undefined, { interrupted }: Terminal): Promise<string> {
  const signal = AbortSignal.any([interrupted, AbortSignal.timeout(TIMEOUT_MS)]);
  const identity = keys === undefined ? {} : await readKeys(keys);
  try {
    const options = { headers: { accept: mediaType }, signal, agent: false as const, ...identity };
    const request = url.protocol === 'https:' ? getSecurely(url, options) : get(url, options);
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    const text = await readText(response);
    if (response.statusCode !== 200) {
      throw new CommandFailure(`${url.origin} answered with status ${String(response.statusCode)}`);
    }
    return text;
  } catch (error) {
    if (interrupted.aborted || error instanceof CommandFailure) throw error;
    throw new CommandFailure(`${url.origin} does not answer: ${reasonOf(error)}`, { cause: error });
  }
}

/** The certificate by which the service identifies this command. @throws CommandFailure */
async function readKeys(directory: string): Promise<{ ca: Buffer; cert: Buffer; key: Buffer }> {
  const read = (name: string): Promise<Buffer> => readFile(join(directory, name));
  try {
    const [ca, cert, key] = await Promise.all([read('ca.crt'), read('client.crt'), read('client.key')]);
    return { ca, cert, key };
  } catch (cause) {
    throw new CommandFailure(`--keys ${directory}: ${cause instanceof Error ? cause.message : 'unknown error'}`, {
      cause,
    });
  }
}

/** A code says what a message of OpenSSL hides. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown error';
  if (error.name === 'AbortError') return `no answer within ${String(TIMEOUT_MS / 1000)} s`;
  return 'code' in error && typeof error.code === 'string' ? error.code : error.message;
}

/** Whether the request would fail; undefined for a text that is no explanation. */
function isFailedText(text: string): boolean | undefined {
  const [, outcome] = /^verdict +would (be served|fail)\b/.exec(text) ?? [];
  return outcome === undefined ? undefined : outcome === 'fail';
}

function isFailedDocument(text: string): boolean | undefined {
  try {
    const { verdict } = JSON.parse(text) as { readonly verdict: { readonly outcome: unknown } };
    return typeof verdict.outcome === 'string' ? verdict.outcome === 'fail' : undefined;
  } catch {
    return undefined;
  }
}
