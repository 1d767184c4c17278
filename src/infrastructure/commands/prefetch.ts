/** `prefetch`: fetches packages into a cache before the first request. */
import { ServiceClient, type ServiceClientOptions } from '../../adapters/service/service-client.ts';
import type { PackageCache } from '../../domain/ports/package-cache.ts';
import { LocalCache, type PrefetchProgress, prefetchPackages } from '../../application/prefetch-packages.ts';
import { formatBytes } from '../../adapters/cli/format.ts';
import { T } from '../container/tokens.ts';
import type { Settings } from '../settings.ts';
import { withComponents } from './with-components.ts';
import {
  command,
  CommandFailure,
  EXIT_CODE,
  EXIT_CODES,
  type ExitCode,
  JSON_FLAG,
  type Terminal,
  UsageError,
  writeJson,
} from '../../adapters/cli/command.ts';
import {
  isFlawless,
  LIST_FLAGS,
  type ListedPackage,
  readPackageList,
  tellOutcome,
} from '../../adapters/cli/package-list.ts';
import { readAccess, SIDECAR_FLAGS } from '../../adapters/cli/service-access.ts';
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
  ...SIDECAR_FLAGS,
} as const;

export const PREFETCH = command({
  about: `With --url it asks a running service for each package, verifies the bytes by the manifest and drops them: the service \
caches the package. Without --url it fills the cache of the settings, and has to run as the user of the service. It locks the \
cache directory, so the service and this command never use it at the same time. Packages that are there already are verified. \
When the cache is too small for the whole list, it names the packages that were evicted again.`,
  flags: { ...LIST_FLAGS, ...SERVICE_FLAGS, ...LOCAL_FLAGS, json: JSON_FLAG },
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
    const isJson = flags.json === true;
    if (flags.url === undefined) {
      refuse(SERVICE_FLAGS, flags, 'needs --url');
      const settings = readSettings(flags, terminal);
      return withLocalCache(settings, terminal, (cache) =>
        prefetch(cache, { where: settings.store.directory, packages, isJson }, terminal),
      );
    }
    refuse(LOCAL_FLAGS, flags, 'is of no use with --url: the service has settings of its own');
    const service = await readAccess(flags);
    const where = service.origin.origin;
    return withServiceCache(service, (cache) => prefetch(cache, { where, packages, isJson }, terminal));
  },
});

interface Order {
  /** The cache, by name. */
  readonly where: string;
  readonly packages: readonly ListedPackage[];
  readonly isJson: boolean;
}

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
  { where, packages, isJson }: Order,
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
  const outcome = await tellOutcome(work, where, terminal);
  const { fetched, hits, bytes } = last;
  if (isJson) {
    writeJson(terminal.stdout, { cache: where, packages: packages.length, fetched, hits, bytes, ...outcome });
  } else
    terminal.stdout.write(
      `${where}: ${String(fetched)} of ${String(packages.length)} packages fetched, ${String(hits)} were there, ${formatBytes(bytes)} in all\n`,
    );
  interrupted.throwIfAborted();
  return isFlawless(outcome) ? EXIT_CODE.done : EXIT_CODE.faulty;
}

/** @throws UsageError for the first of these flags that was given */
function refuse(known: object, given: Readonly<Record<string, unknown>>, why: string): void {
  for (const name of Object.keys(known)) if (given[name] !== undefined) throw new UsageError(`--${name} ${why}`);
}
