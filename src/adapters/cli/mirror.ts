/** `mirror`: fetches packages from registries into a directory, for a site without a registry. */
import { parsePlatform, type Platform } from '../../domain/index-entry.ts';
import { type MirrorOptions, mirrorPackages } from '../../application/mirror-packages.ts';
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
import { isFlawless, LIST_FLAGS, readPackageList, tellOutcome } from './package-list.ts';
import { MirrorDisplay } from './progress.ts';

/** Enough to fill a line, and few enough for any registry. */
const CONCURRENCY = 3;

const FLAGS = {
  config: SETTINGS_FLAGS.config,
  ...LIST_FLAGS,
  output: {
    type: 'string',
    value: 'DIRECTORY',
    about: 'an OCI image layout: a new directory, or one that another run has begun',
  },
  platform: {
    type: 'string',
    value: 'PLATFORMS',
    about: 'whose images of an index: linux/amd64,linux/arm64, or all; registry.platform without it',
  },
  kubeconfig: SETTINGS_FLAGS.kubeconfig,
  json: JSON_FLAG,
} as const;

interface Ports extends Pick<MirrorOptions, 'gateway' | 'credentials' | 'layout'> {
  /** registry.platform of the settings. */
  readonly platform: Platform;
}

/**
 * Does `work` with the ports that the flags and the settings name, and releases them. Work that resolves with true has left
 * nothing to continue. @throws CommandFailure for settings, a directory or a cluster that cannot be used
 */
type WithPorts = (
  flags: Values<typeof FLAGS> & { readonly output: string },
  terminal: Terminal,
  work: (ports: Ports) => Promise<boolean>,
) => Promise<boolean>;

export function mirrorCommand(withPorts: WithPorts): Command {
  return command({
    about: `Fetches each package of the list as a whole image, so that other tools can read the directory too. Of an index it \
fetches the images of the platforms, and a package that lacks one of them fails. Every blob is verified before it gets its name. Another run verifies what is there and \
fetches what is missing: after an interruption, a kill or a failure it continues, and with a longer list it adds the new \
packages. Registries and their credentials are those of the settings. A service with registry.gateway: oci-layout serves \
the packages; docs/air-gapped.md has all the steps.`,
    flags: FLAGS,
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
        to: 'packages for nodes of two processors',
        run: 'mirror --config my.yaml --list packages.txt --platform linux/amd64,linux/arm64 --output mirror',
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
      const { stdout, interrupted } = terminal;
      const platforms = parsePlatforms(flags.platform);
      const packages = await readPackageList(flags, interrupted);
      const isComplete = await withPorts({ ...flags, output }, terminal, async ({ platform, ...ports }) => {
        const display = new MirrorDisplay(terminal, packages.length);
        const onProgress = display.show.bind(display);
        const options = {
          ...ports,
          platforms: platforms ?? [platform],
          concurrency: CONCURRENCY,
          interrupted,
          onProgress,
        };
        const work = mirrorPackages(packages, options).finally(() => {
          display.end();
        });
        const outcome = await tellOutcome(work, output, terminal);
        const { mirrored, hereBytes, fetchedBytes } = display.last;
        if (flags.json === true) {
          const bytes = { bytes: hereBytes, fetched_bytes: fetchedBytes };
          writeJson(stdout, { directory: output, packages: packages.length, mirrored, ...bytes, ...outcome });
        } else {
          const count = `${String(mirrored)} of ${String(packages.length)}`;
          stdout.write(
            `${output} has ${count} packages, ${formatBytes(hereBytes)}; ${formatBytes(fetchedBytes)} fetched now\n`,
          );
        }
        return isFlawless(outcome);
      });
      interrupted.throwIfAborted();
      return isComplete ? EXIT_CODE.done : EXIT_CODE.faulty;
    },
  });
}

/** @throws UsageError */
function parsePlatforms(list: string | undefined): MirrorOptions['platforms'] | undefined {
  if (list === undefined || list === 'all') return list;
  return list.split(',').map((text) => {
    const platform = parsePlatform(text);
    if (platform !== undefined) return platform;
    throw new UsageError('--platform must be os/architecture, several of them with commas, or all');
  });
}
