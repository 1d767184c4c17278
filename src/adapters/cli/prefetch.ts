/** `prefetch`: fetches packages into a cache before the first request. */
import { type PrefetchProgress, prefetchPackages } from '../../application/prefetch-packages.ts';
import type { PackageCache } from '../../domain/ports/package-cache.ts';
import {
  type Command,
  command,
  EXIT_CODE,
  EXIT_CODES,
  JSON_FLAG,
  SETTINGS_FLAGS,
  type Terminal,
  UsageError,
  type Values,
  writeJson,
} from './command.ts';
import { formatBytes } from './format.ts';
import { isFlawless, LIST_FLAGS, type ListedPackage, readPackageList, tellOutcome } from './package-list.ts';
import { Progress } from './progress.ts';
import { readAccess, type ServiceAccess, SIDECAR_FLAGS } from './service-access.ts';

/** The number of packages at a time; small, because a service has other clients. */
const CONCURRENCY = 3;

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
    about: 'running service whose cache is filled, instead of the cache of the settings',
  },
  ...SIDECAR_FLAGS,
} as const;

/** Fills the cache with the name `where`; resolves with whether it has all packages. */
type Fill = (cache: PackageCache, where: string) => Promise<boolean>;

/** The caches that can be filled. Each is opened, passed to `fill` and closed. */
interface Caches {
  /** @throws CommandFailure if the settings have no cache, or another process uses it */
  readonly local: (flags: Values<typeof LOCAL_FLAGS>, terminal: Terminal, fill: Fill) => Promise<boolean>;
  readonly ofService: (service: ServiceAccess, fill: Fill) => Promise<boolean>;
}

export function prefetchCommand({ local, ofService }: Caches): Command {
  return command({
    about: `With --url this command requests each package from a running service, which caches it; the command verifies the bytes by \
the manifest and discards them. Without --url it fills the cache of the settings. It must then run as the user of the \
service, and it locks the cache directory: the service cannot use the directory at the same time. Cached packages are \
verified. If the cache is too small for the whole list, the command names the packages that were evicted again.`,
    flags: { ...LIST_FLAGS, ...SERVICE_FLAGS, ...LOCAL_FLAGS, json: JSON_FLAG },
    examples: [
      { to: 'into the service of this host', run: 'prefetch --url http://127.0.0.1:5080 --list packages.txt' },
      {
        to: 'into the service of a master, through its sidecar',
        run: 'prefetch --url https://master-0:4219 --token-file token --ca ca.crt --list packages.txt',
      },
      { to: 'into a cache, before a service starts with it', run: 'prefetch --config my.yaml --list packages.txt' },
    ],
    exits: { ...EXIT_CODES, 0: 'all packages are in the cache', 2: 'some packages are not in the cache' },
    async run({ flags }, terminal) {
      const packages = await readPackageList(flags, terminal.interrupted);
      const fill: Fill = (cache, where) => prefetch(cache, { where, packages, isJson: flags.json === true }, terminal);
      let isComplete: boolean;
      if (flags.url === undefined) {
        refuse(SERVICE_FLAGS, flags, 'needs --url');
        isComplete = await local(flags, terminal, fill);
      } else {
        refuse(LOCAL_FLAGS, flags, 'cannot be used with --url: the service has its own settings');
        isComplete = await ofService(await readAccess(flags), fill);
      }
      terminal.interrupted.throwIfAborted();
      return isComplete ? EXIT_CODE.done : EXIT_CODE.faulty;
    },
  });
}

interface Order {
  /** The name of the cache. */
  readonly where: string;
  readonly packages: readonly ListedPackage[];
  readonly isJson: boolean;
}

async function prefetch(cache: PackageCache, { where, packages, isJson }: Order, terminal: Terminal): Promise<boolean> {
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
  return isFlawless(outcome);
}

/** @throws UsageError for the first of these flags that is present */
function refuse(known: object, given: Readonly<Record<string, unknown>>, why: string): void {
  for (const name of Object.keys(known)) if (given[name] !== undefined) throw new UsageError(`--${name} ${why}`);
}
