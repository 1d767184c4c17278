/** `mirror`: fetches packages from registries into a directory, for a site without a registry. */
import { mkdir } from 'node:fs/promises';
import { isArchive, NOT_UNPACKED } from '../../adapters/oci-layout/layout.ts';
import { OciLayoutWriter } from '../../adapters/oci-layout/oci-layout-writer.ts';
import { mirrorPackages } from '../../application/mirror-packages.ts';
import { T } from '../container/tokens.ts';
import { type HeldDirectory, holdDirectory } from '../../adapters/blobs/directory-lock.ts';
import type { Settings } from '../settings.ts';
import { formatBytes, formatError } from '../../adapters/cli/format.ts';
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
import { withComponents } from './with-components.ts';
import { MirrorDisplay } from '../../adapters/cli/progress.ts';
import { readSettings, SETTINGS_FLAGS } from '../load-settings.ts';

/** Enough to fill a line, and few enough for any registry. */
const CONCURRENCY = 3;

export const MIRROR = command({
  about: `Fetches each package of the list as a whole image, so that other tools can read the directory too, and an index \
with the image of registry.platform. Every blob is verified before it gets its name. Another run verifies what is there and \
fetches what is missing: after an interruption, a kill or a failure it continues, and with a longer list it adds the new \
packages. Registries and their credentials are those of the settings. A service with registry.gateway: oci-layout serves \
the packages; docs/air-gapped.md has all the steps.`,
  flags: {
    config: SETTINGS_FLAGS.config,
    ...LIST_FLAGS,
    output: {
      type: 'string',
      value: 'DIRECTORY',
      about: 'an OCI image layout: a new directory, or one that another run has begun',
    },
    'all-platforms': { type: 'boolean', about: 'every image of an index instead of one' },
    kubeconfig: SETTINGS_FLAGS.kubeconfig,
    json: JSON_FLAG,
  },
  examples: [
    {
      to: 'the packages of a list, from the registries of the settings, onto a disk',
      run: 'mirror --config my.yaml --list packages.txt --output /media/mirror',
    },
    {
      to: 'the packages of a Deckhouse release, by the digests in its image',
      run: 'mirror --config my.yaml --list images_digests.json --output /media/mirror',
    },
    {
      to: 'packages of one path of a repository, of which the list says digests only',
      run: 'mirror --config my.yaml --list ingress.txt --path ingress --output mirror',
    },
  ],
  exits: {
    ...EXIT_CODES,
    0: 'all packages are there',
    2: 'some could not be fetched, or the directory could not be written any more; the others are there',
  },
  async run({ flags }, terminal) {
    const { output } = flags;
    if (output === undefined) throw new UsageError('--output is missing');
    const settings = readSettings(flags, terminal);
    const packages = await readPackageList(flags, terminal.interrupted);
    const platform = flags['all-platforms'] === true ? 'all' : settings.registry.platform;
    return mirror({ settings, packages, output, platform, isJson: flags.json === true }, terminal);
  },
});

interface Order {
  readonly settings: Settings;
  readonly packages: readonly ListedPackage[];
  readonly output: string;
  readonly platform: Settings['registry']['platform'] | 'all';
  readonly isJson: boolean;
}

async function mirror({ settings, packages, output, platform, isJson }: Order, terminal: Terminal): Promise<ExitCode> {
  const { stdout, interrupted } = terminal;
  const { layout, held } = await openLayout(output);
  let isComplete = false;
  try {
    return await withComponents(
      settings,
      [T.GATEWAY_COMPONENT, T.CREDENTIALS_COMPONENT],
      terminal,
      async (container) => {
        const display = new MirrorDisplay(terminal, packages.length);
        const work = mirrorPackages(packages, {
          gateway: container.get(T.REGISTRY_GATEWAY),
          credentials: container.get(T.CREDENTIAL_PROVIDER),
          layout,
          platform,
          concurrency: CONCURRENCY,
          interrupted,
          onProgress: (progress) => {
            display.show(progress);
          },
        }).finally(() => {
          display.end();
        });
        const outcome = await tellOutcome(work, output, terminal);
        isComplete = isFlawless(outcome);
        const { mirrored, hereBytes, fetchedBytes } = display.last;
        if (isJson) {
          const bytes = { bytes: hereBytes, fetched_bytes: fetchedBytes };
          writeJson(stdout, { directory: output, packages: packages.length, mirrored, ...bytes, ...outcome });
        } else {
          const count = `${String(mirrored)} of ${String(packages.length)}`;
          stdout.write(
            `${output} has ${count} packages, ${formatBytes(hereBytes)}; ${formatBytes(fetchedBytes)} fetched now\n`,
          );
        }
        interrupted.throwIfAborted();
        return isComplete ? EXIT_CODE.done : EXIT_CODE.faulty;
      },
    );
  } finally {
    await layout.close(isComplete);
    held.release();
  }
}

/** For this process alone, until it ends. */
async function openLayout(output: string): Promise<{ layout: OciLayoutWriter; held: HeldDirectory }> {
  if (isArchive(output)) throw new CommandFailure(`${output} ${NOT_UNPACKED}`);
  try {
    await mkdir(output, { recursive: true });
    const held = await holdDirectory(output, 'another process is writing there');
    return { layout: await OciLayoutWriter.open(output), held };
  } catch (cause) {
    throw new CommandFailure(`${output}: ${formatError(cause)}`, { cause });
  }
}
