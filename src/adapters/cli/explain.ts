/** `explain`: asks a running service for the outcome that a request for a package would have, and for the reason. */
import { type Digest, digestOf, parseDigest } from '../../domain/descriptor.ts';
import { InvalidArgumentError, PackageError } from '../../domain/errors.ts';
import { type Index, type Manifest, parseManifest } from '../../domain/manifest.ts';
import { type PackageRequest, parseRepositoryName, parseRepositoryPath } from '../../domain/reference.ts';
import { command, CommandFailure, EXIT_CODE, EXIT_CODES, type Terminal, UsageError, type Values } from './command.ts';
import { printable } from './format.ts';
import { ACCESS_FLAGS, askService, readAccess, type ServiceAccess } from './service-access.ts';

const FLAGS = {
  digest: { type: 'string', value: 'DIGEST', about: 'digest of an image manifest, or of an index' },
  repository: { type: 'string', value: 'REPO', about: 'repository of the request; by default the default registry' },
  path: { type: 'string', value: 'PATH', about: 'path of the request, below the repository' },
  ...ACCESS_FLAGS,
  verify: {
    type: 'boolean',
    about: 'fetch the cached manifest, and compare it with DIGEST and with the layer that the service names',
  },
  json: { type: 'boolean', about: 'print the JSON document of the service (docs/openapi.yaml)' },
} as const;

/** The width of the labels of the service. */
const LABEL = 'verified'.padEnd(12);

export const EXPLAIN = command({
  about: `Asks a running service, on this machine or at --url. The service answers from its own state: it asks no registry \
and fetches nothing. Ages are by its clock. With --verify this command fetches the cached manifest and computes its digest \
itself.`,
  flags: FLAGS,
  examples: [
    {
      to: 'on a master: the reason why a package of the default registry is not served',
      run: 'explain --digest sha256:…',
    },
    {
      to: 'the same with a hardened loopback port',
      run: 'explain --keys /etc/loopback --digest sha256:…',
    },
    {
      to: 'through the sidecar of a master, with the token of an authorized user',
      run: 'explain --url https://master-0:4219 --token-file token --ca ca.crt --verify --digest sha256:…',
    },
    {
      to: 'a package of a module, through a port that kubectl forwards, for a script',
      run: 'explain --digest sha256:… --path modules/ingress --url http://127.0.0.1:8080 --json',
    },
  ],
  exits: {
    ...EXIT_CODES,
    0: 'the package would be served',
    1: 'wrong flags, or the service did not answer',
    2: 'the request would fail, or --verify found another manifest or layer',
  },
  async run({ flags }, terminal) {
    const request = requestOf(flags);
    const access = await readAccess(flags);
    const isJson = flags.json === true;
    const mediaType = isJson ? 'application/json' : 'text/plain';
    const answer = (await askService(access, pathOf('/explain', request), mediaType, terminal)).toString();
    const told = isJson ? readDocument(answer) : readLines(answer);
    if (told === undefined) throw new CommandFailure(`${access.origin.origin} did not answer with an explanation`);
    if (flags.verify !== true) {
      terminal.stdout.write(isJson ? answer : printable(answer));
      return told.isFailure ? EXIT_CODE.faulty : EXIT_CODE.done;
    }
    const { outcome, reason } = await verify(access, request, told, terminal);
    if (isJson) {
      const document = { explanation: JSON.parse(answer) as object, verification: { outcome, reason } };
      terminal.stdout.write(`${JSON.stringify(document, undefined, 2)}\n`);
    } else terminal.stdout.write(`${printable(answer)}${LABEL}${reason}\n`);
    return told.isFailure || outcome === 'different' ? EXIT_CODE.faulty : EXIT_CODE.done;
  },
});

function pathOf(route: string, { digest, repository, path }: PackageRequest): string {
  const query = new URLSearchParams({ digest, repository, ...(path !== undefined && { path }) });
  return `${route}?${query.toString()}`;
}

/** Parses the request as the service does. @throws UsageError */
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

interface Told {
  readonly isFailure: boolean;
  /** Whether the service has the manifest, so that it asks no registry for it. */
  readonly isCached: boolean;
  readonly layer: string | undefined;
}

/** Returns undefined for a text that is not an explanation. */
function readLines(text: string): Told | undefined {
  const [, outcome] = /^verdict +would (be served|fail)\b/.exec(text) ?? [];
  if (outcome === undefined) return undefined;
  const [, layer] = /^layer +(sha256:[0-9a-f]{64})$/m.exec(text) ?? [];
  return { isFailure: outcome === 'fail', isCached: /^manifest +cached/m.test(text), layer };
}

function readDocument(text: string): Told | undefined {
  try {
    const { verdict, kept, layer } = JSON.parse(text) as {
      readonly verdict: { readonly outcome: unknown };
      readonly kept?: { readonly manifest: object | null };
      readonly layer?: { readonly digest: string } | null;
    };
    if (typeof verdict.outcome !== 'string') return undefined;
    return {
      isFailure: verdict.outcome === 'fail',
      isCached: (kept?.manifest ?? null) !== null,
      layer: layer?.digest,
    };
  } catch {
    return undefined;
  }
}

interface Verification {
  readonly outcome: 'same' | 'different' | 'unknown';
  readonly reason: string;
}

/** @throws CommandFailure if the service does not send the manifest */
async function verify(
  access: ServiceAccess,
  request: PackageRequest,
  { isCached, layer }: Told,
  terminal: Terminal,
): Promise<Verification> {
  if (!isCached) return { outcome: 'unknown', reason: 'nothing: the manifest is not cached' };
  const bytes = await askService(access, pathOf('/manifest', request), '*/*', terminal);
  const found = digestOf(bytes);
  if (found !== request.digest) return { outcome: 'different', reason: `no: the service has a manifest of ${found}` };
  return compare(bytes, layer);
}

function compare(bytes: Buffer, layer: string | undefined): Verification {
  let document: Manifest | Index;
  try {
    document = parseManifest(bytes);
  } catch (error) {
    if (!(error instanceof PackageError)) throw error;
    return { outcome: 'different', reason: `no: the bytes have this digest, but are not a manifest: ${error.message}` };
  }
  if (document.kind !== 'manifest') {
    return { outcome: 'same', reason: 'the index has this digest; its manifests each have their own' };
  }
  const named: Digest | undefined = document.layers.at(-1)?.digest;
  if (layer !== undefined && named !== layer) {
    return { outcome: 'different', reason: `no: the manifest has this digest, and names the layer ${named ?? 'none'}` };
  }
  return { outcome: 'same', reason: 'the manifest has this digest, and names this layer' };
}
