/** `explain`: asks a running service what would become of a request for a package, and why. */
import type { PackageRequest } from '../../domain/package.ts';
import { parseDigest } from '../../domain/digest.ts';
import { InvalidArgumentError } from '../../domain/errors.ts';
import { parseRepositoryName, parseRepositoryPath } from '../../domain/reference.ts';
import { command, type Terminal } from './command.ts';
import { EXIT_CODE, EXIT_CODES } from './exit-code.ts';
import { explanationSchema } from './explanation.ts';
import { explanationText } from './explanation-text.ts';
import { CommandFailure, UsageError } from './failures.ts';
import type { Values } from './flags.ts';
import { parseServiceUrl } from './service-url.ts';

/** It answers out of its memory. */
const TIMEOUT_MS = 10_000;
const DEFAULT_URL = 'http://127.0.0.1:5080';

const FLAGS = {
  digest: { type: 'string', value: 'DIGEST', about: 'of an image manifest, or of an index of them' },
  repository: { type: 'string', value: 'REPO', about: 'as requests name it; the default registry without it' },
  path: { type: 'string', value: 'PATH', about: 'below the repository' },
  url: { type: 'string', value: 'URL', about: `of the service; ${DEFAULT_URL} without it` },
  json: { type: 'boolean', about: 'print what the service says as it is (docs/openapi.yaml)' },
} as const;

export const EXPLAIN = command({
  about: `Asks a running service, on this machine unless --url says another, which answers out of what it knows: it asks \
no registry and fetches nothing. Ages are by its own clock.`,
  flags: FLAGS,
  examples: [
    { to: 'why a package of the default registry does not come, on a master', run: 'explain --digest sha256:…' },
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
    const { text, now } = await ask(url, terminal);
    const explanation = explanationSchema.safeParse(parseJson(text));
    if (!explanation.success) throw new CommandFailure(`${url.origin} did not answer with an explanation`);
    terminal.stdout.write(flags.json === true ? text : explanationText(explanation.data, now));
    return explanation.data.verdict.outcome === 'fail' ? EXIT_CODE.faulty : EXIT_CODE.done;
  },
});

/** @throws UsageError */
function explainUrl(flags: Values<typeof FLAGS>): URL {
  const url = new URL('/explain', parseServiceUrl(flags.url ?? DEFAULT_URL));
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

/** The answer, and what time it is there. @throws CommandFailure */
async function ask(url: URL, { interrupted }: Terminal): Promise<{ readonly text: string; readonly now: Date }> {
  const signal = AbortSignal.any([interrupted, AbortSignal.timeout(TIMEOUT_MS)]);
  try {
    const response = await fetch(url, { headers: { accept: 'application/json' }, redirect: 'error', signal });
    const text = await response.text();
    if (response.status !== 200) {
      throw new CommandFailure(`${url.origin} answered with status ${String(response.status)}`);
    }
    const date = response.headers.get('date');
    return { text, now: date === null ? new Date() : new Date(date) };
  } catch (error) {
    if (interrupted.aborted || error instanceof CommandFailure) throw error;
    throw new CommandFailure(`${url.origin} does not answer: ${reasonOf(error)}`, { cause: error });
  }
}

/** `ECONNREFUSED` rather than "fetch failed". */
function reasonOf(error: unknown): string {
  const { cause } = error instanceof Error ? error : {};
  if (cause instanceof Error && 'code' in cause && typeof cause.code === 'string') return cause.code;
  return error instanceof Error ? error.message : 'unknown error';
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
