/** `prefetch`: fetches packages into a cache before the first request. */
import { readFile } from 'node:fs/promises';
import { ServiceClient, type ServiceClientOptions } from '../../adapters/service/service-client.ts';
import type { PackageCache } from '../../domain/ports/package-cache.ts';
import { LocalCache, type PrefetchProgress, prefetchPackages } from '../../application/prefetch-packages.ts';
import { Secret } from '../../domain/credential.ts';
import { formatBytes, formatError } from '../../adapters/cli/format.ts';
import { T } from '../container/tokens.ts';
import type { Settings } from '../settings.ts';
import { withComponents } from './with-components.ts';
import {
  command,
  CommandFailure,
  EXIT_CODE,
  EXIT_CODES,
  type ExitCode,
  parseServiceUrl,
  type Terminal,
  UsageError,
} from '../../adapters/cli/command.ts';
import { isFlawless, LIST_FLAGS, type ListedPackage, readPackageList } from '../../adapters/cli/package-list.ts';
import { Progress } from '../../adapters/cli/progress.ts';
import { readSettings, SETTINGS_FLAGS } from '../load-settings.ts';

/** Few, since a service has other clients besides. */
const CONCURRENCY = 3;
/** Longer than the service waits for a registry, all its tries together. */
const IDLE_MS = 120_000;

const LOCAL_FLAGS = {
  config: SETTINGS_FLAGS.config,
  'cache-directory': SETTINGS_FLAGS['cache-directory'],
  'cache-retention-size': SETTINGS_FLAGS['cache-retention-size'],
  kubeconfig: SETTINGS_FLAGS.kubeconfig,
} as const;

const SERVICE_FLAGS = {
  url: {
    type: 'string',
    value: 'URL',
    about: 'a running service, whose cache is filled instead of that of the settings',
  },
  'token-file': { type: 'string', value: 'FILE', about: 'holds the bearer token for its sidecar' },
  ca: { type: 'string', value: 'FILE', about: 'PEM: the CA of the certificate of its sidecar' },
} as const;

export const PREFETCH = command({
  about: `With --url it asks a running service for each package, verifies the bytes by the manifest and drops them: the service \
caches the package. Without --url it fills the cache of the settings, and has to run as the user of the service. It locks the \
cache directory, so the service and this command never use it at the same time. Packages that are there already are verified. \
When the cache is too small for the whole list, it names the packages that were evicted again.`,
  flags: { ...LIST_FLAGS, ...SERVICE_FLAGS, ...LOCAL_FLAGS },
  examples: [
    { to: 'into the service of this host', run: 'prefetch --url http://127.0.0.1:5080 --list packages.txt' },
    {
      to: 'into the service of a master, through its sidecar',
      run: 'prefetch --url https://master-0:4219 --token-file token --ca ca.crt --list packages.txt',
    },
    { to: 'into a cache that a service will run on', run: 'prefetch --config my.yaml --list packages.txt' },
  ],
  exits: { ...EXIT_CODES, 0: 'all packages are in the cache', 2: 'some are not; the others are' },
  async run({ flags }, terminal) {
    const packages = await readPackageList(flags, terminal.interrupted);
    if (flags.url === undefined) {
      refuse(SERVICE_FLAGS, flags, 'needs --url');
      const settings = readSettings(flags, terminal);
      return withLocalCache(settings, terminal, (cache) =>
        prefetch(cache, settings.store.directory, packages, terminal),
      );
    }
    refuse(LOCAL_FLAGS, flags, 'is of no use with --url: the service has settings of its own');
    const service = await parseService(flags.url, flags['token-file'], flags.ca);
    return withServiceCache(service, (cache) => prefetch(cache, service.origin.origin, packages, terminal));
  },
});

type Work<Outcome> = (cache: PackageCache) => Promise<Outcome>;

async function withServiceCache<Outcome>(
  options: Omit<ServiceClientOptions, 'idleTimeoutMs'>,
  work: Work<Outcome>,
): Promise<Outcome> {
  const client = new ServiceClient({ ...options, idleTimeoutMs: IDLE_MS });
  try {
    return await work(client);
  } finally {
    client.close();
  }
}

/** @throws CommandFailure when there is none, or another process works on it */
async function withLocalCache<Outcome>(settings: Settings, terminal: Terminal, work: Work<Outcome>): Promise<Outcome> {
  if (!settings.store.enabled) throw new CommandFailure('store.enabled is false: there is no cache to fill');
  // This command does not verify old entries.
  const quiet = { ...settings, store: { ...settings.store, scrubRate: 0 } };
  return withComponents(
    quiet,
    [T.STORE_COMPONENT, T.GATEWAY_COMPONENT, T.CREDENTIALS_COMPONENT],
    terminal,
    (container) => {
      return work(new LocalCache(container.get(T.GET_PACKAGE)));
    },
  );
}

async function prefetch(
  cache: PackageCache,
  where: string,
  packages: readonly ListedPackage[],
  terminal: Terminal,
): Promise<ExitCode> {
  const progress = new Progress(terminal, { title: 'prefetch', unit: 'packages' });
  progress.total = packages.length;
  let last: PrefetchProgress = { fetched: 0, hits: 0, failed: 0, bytes: 0 };
  const onProgress = (now: PrefetchProgress): void => {
    progress.advance(now.fetched + now.hits - last.fetched - last.hits, formatBytes(now.bytes));
    last = now;
  };
  const { interrupted } = terminal;
  const work = prefetchPackages(packages, { cache, concurrency: CONCURRENCY, interrupted, onProgress }).finally(() => {
    progress.end();
  });
  const isDone = await isFlawless(work, where, terminal);
  const { fetched, hits, bytes } = last;
  terminal.stdout.write(
    `${where}: ${String(fetched)} of ${String(packages.length)} packages fetched, ${String(hits)} were there, ${formatBytes(bytes)} in all\n`,
  );
  interrupted.throwIfAborted();
  return isDone ? EXIT_CODE.done : EXIT_CODE.faulty;
}

/** @throws UsageError for the first of these flags that was given */
function refuse(known: object, given: Readonly<Record<string, unknown>>, why: string): void {
  for (const name of Object.keys(known)) if (given[name] !== undefined) throw new UsageError(`--${name} ${why}`);
}

/** @throws UsageError, CommandFailure for files that cannot be read */
async function parseService(
  text: string,
  tokenFile: string | undefined,
  caFile: string | undefined,
): Promise<Pick<ServiceClientOptions, 'origin' | 'token' | 'ca'>> {
  const origin = parseServiceUrl(text);
  const isSecure = origin.protocol === 'https:';
  if (!isSecure && tokenFile !== undefined) throw new UsageError('--token-file needs https: the token is a secret');
  return {
    origin,
    token: tokenFile === undefined ? undefined : new Secret((await read(tokenFile)).trim()),
    ca: caFile === undefined ? undefined : await read(caFile),
  };
}

async function read(path: string): Promise<string> {
  return readFile(path, 'utf8').catch((cause: unknown) => {
    throw new CommandFailure(`${path} cannot be read: ${formatError(cause)}`, { cause });
  });
}
