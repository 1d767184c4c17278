/** `mirror`: fetches packages from registries into a directory, for a site without a registry. */
import type { Digest } from '../../domain/descriptor.ts';
import { parsePlatform, type Platform } from '../../domain/index-entry.ts';
import { DEFAULT_REPOSITORY } from '../../domain/reference.ts';
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
import { formatBytes, printable } from './format.ts';
import { isFlawless, LIST_FLAGS, type ListedPackage, readPackageList, tellOutcome } from './package-list.ts';
import { MirrorDisplay } from './progress.ts';

/** The number of packages at a time: enough to use a connection fully, and few enough for any registry. */
const CONCURRENCY = 3;

const FLAGS = {
  config: SETTINGS_FLAGS.config,
  ...LIST_FLAGS,
  from: {
    type: 'string',
    value: 'ARCHIVE',
    about:
      'read images from a tar of "docker save" or of an OCI image layout, not from registries; without --list all of its images',
  },
  output: {
    type: 'string',
    value: 'DIRECTORY',
    about: 'directory for the OCI image layout: a new one, or that of an earlier run',
  },
  platform: {
    type: 'string',
    value: 'PLATFORMS',
    about: 'platforms to fetch of an index: linux/amd64,linux/arm64, or all; by default registry.platform',
  },
  kubeconfig: SETTINGS_FLAGS.kubeconfig,
  json: JSON_FLAG,
} as const;

interface Ports extends Pick<MirrorOptions, 'gateway' | 'credentials' | 'layout'> {
  /** The setting registry.platform. */
  readonly platform: Platform;
  /** The images of the archive; undefined without an archive. */
  readonly images?: readonly ArchivedImage[];
  /** Called with each failure before it is printed. */
  readonly onFailure?: (error: unknown) => void;
}

interface ArchivedImage {
  readonly digest: Digest;
  readonly names: readonly string[];
}

/**
 * Calls `work` with the ports of the flags and the settings, and closes them afterwards. If `work` resolves with true, no
 * partial files are needed for a next run. @throws CommandFailure if settings, directory or cluster cannot be used
 */
type WithPorts = (
  flags: Values<typeof FLAGS> & { readonly output: string },
  terminal: Terminal,
  work: (ports: Ports) => Promise<boolean>,
) => Promise<boolean>;

export function mirrorCommand(withPorts: WithPorts): Command {
  return command({
    about: `Fetches each package of the list as a whole image, so that other tools can read the directory, too. From an index it \
fetches the image of each platform of --platform; the package fails if the index lacks one. Every blob is verified. Another \
run verifies the blobs that exist and fetches the missing ones, so it continues after an interruption or a failure, and adds \
the packages of a longer list. Registries and credentials come from the settings. A service with registry.gateway: \
oci-layout serves the packages; docs/air-gapped.md has all the steps.

With --from the images come from an archive; their digests are printed. Archives of Docker before 25 and of "podman save" \
have no manifests. This command makes new ones, so these images have other digests than in a registry.`,
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
        to: 'packages for nodes of two platforms',
        run: 'mirror --config my.yaml --list packages.txt --platform linux/amd64,linux/arm64 --output mirror',
      },
      {
        to: 'all images of a file of "docker save"',
        run: 'mirror --from images.tar --output /media/mirror',
      },
      {
        to: 'packages of one path of a repository; the list has only digests',
        run: 'mirror --config my.yaml --list ingress.txt --path ingress --output mirror',
      },
    ],
    exits: {
      ...EXIT_CODES,
      0: 'all packages are there',
      2: 'some packages could not be fetched, or the directory could not be written; the others are there',
    },
    async run({ flags }, terminal) {
      const { output } = flags;
      if (output === undefined) throw new UsageError('--output is missing');
      const { stdout, interrupted } = terminal;
      const platforms = parsePlatforms(flags.platform);
      const isWhole = flags.from !== undefined && flags.list === undefined;
      const listed = isWhole ? undefined : await readPackageList(flags, interrupted);
      const isComplete = await withPorts(
        { ...flags, output },
        terminal,
        async ({ platform, images = [], onFailure, ...ports }) => {
          const packages = listed ?? images.map((image) => asListed(image, flags.from ?? ''));
          const display = new MirrorDisplay(terminal, packages.length);
          const onProgress = display.show.bind(display);
          const options = { ...ports, platforms: platforms ?? [platform], concurrency: CONCURRENCY };
          const work = mirrorPackages(packages, { ...options, interrupted, onProgress }).finally(() => {
            display.end();
          });
          const outcome = await tellOutcome(work, output, terminal, onFailure);
          const { mirrored, hereBytes: bytes, fetchedBytes } = display.last;
          if (flags.json === true) {
            const counts = { packages: packages.length, mirrored, bytes, fetched_bytes: fetchedBytes };
            writeJson(stdout, { directory: output, ...counts, ...(isWhole && { images }), ...outcome });
          } else {
            const count = `${String(mirrored)} of ${String(packages.length)}`;
            stdout.write(
              `${output} has ${count} packages, ${formatBytes(bytes)}; ${formatBytes(fetchedBytes)} fetched now\n`,
            );
            if (isWhole)
              for (const { digest, names } of images) stdout.write(`${[digest, ...names.map(oneLine)].join('  ')}\n`);
          }
          return isFlawless(outcome);
        },
      );
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

function asListed({ digest, names }: ArchivedImage, archive: string): ListedPackage {
  const place = names.length === 0 ? archive : `${archive}: ${names.map(oneLine).join(', ')}`;
  return { digest, repository: DEFAULT_REPOSITORY, path: undefined, place };
}

function oneLine(name: string): string {
  return printable(name).replaceAll('\n', '?');
}
