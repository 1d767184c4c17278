/** `verify`: proves every blob of a cache directory or of an OCI image layout by hashing it again. */
import { formatBytes } from '../../adapters/cli/format-amount.ts';
import { blobFolderOf } from './blob-folder.ts';
import { command, type Terminal } from '../../adapters/cli/command.ts';
import { EXIT_CODE, EXIT_CODES } from '../../adapters/cli/exit-code.ts';
import { UsageError } from '../../adapters/cli/failures.ts';
import { readSettings, SETTINGS_FLAGS } from './settings-flags.ts';
import { type Finding, type Verification, verifyFolders } from './verification.ts';

export const VERIFY = command({
  about: `Reads every blob of each DIRECTORY, a cache or an OCI image layout as "mirror" makes it, and compares it with \
the digest that it is named by. Of a layout also every manifest, config and layer that its index.json leads to must be there; \
of an index for several platforms one is enough. Without DIRECTORY it reads what --config names.

It only reads, and is safe beside a running service: the service finds damage by itself, removes it and fetches the \
blob again; in a mirror, "mirror" does. Strangers are files that no digest names; they are never served.`,
  operands: ['[DIRECTORY]...'],
  flags: {
    config: SETTINGS_FLAGS.config,
    json: { type: 'boolean', about: 'say the result as one JSON object instead' },
  },
  examples: [
    { to: 'the cache of a node', run: 'verify /cache' },
    { to: 'the mirror of this repository', run: 'verify examples/mirror' },
    { to: 'the directories of a settings file, for a script', run: 'verify --config config/demo.yaml --json' },
  ],
  exits: {
    ...EXIT_CODES,
    1: 'wrong flags or settings, or no such directory',
    2: 'a blob is damaged, unreadable or missing',
  },
  async run({ flags, operands }, terminal) {
    if (operands.length > 0 === (flags.config !== undefined)) {
      throw new UsageError(operands.length === 0 ? 'DIRECTORY or --config is missing' : 'either DIRECTORY or --config');
    }
    const directories = flags.config === undefined ? operands : directoriesOf(flags, terminal);
    const { stdout } = terminal;
    const result = await verifyFolders(directories.map(blobFolderOf), terminal, ({ kind, what, why }) => {
      if (flags.json !== true) stdout.write(`${kind}: ${printable(what)}: ${why}\n`);
    });
    stdout.write(flags.json === true ? `${JSON.stringify(result)}\n` : `${summary(result)}\n`);
    return result.findings.every(({ kind }) => kind === 'stranger') ? EXIT_CODE.done : EXIT_CODE.faulty;
  },
});

function directoriesOf(flags: { readonly config?: string }, terminal: Terminal): string[] {
  const { store, registry } = readSettings(flags, terminal);
  return [
    ...(store.enabled ? [store.directory] : []),
    ...(registry.gateway === 'oci-layout' ? [registry.ociLayout.directory] : []),
  ];
}

/** `12 blobs, 1.2 GiB, all sound`, or how many are not. */
function summary({ blobs, bytes, findings }: Verification): string {
  const found = (sought: Finding['kind']): number => findings.filter(({ kind }) => kind === sought).length;
  const faults = (['damaged', 'unreadable', 'missing'] as const)
    .filter((kind) => found(kind) > 0)
    .map((kind) => `${String(found(kind))} ${kind}`);
  const strangers = found('stranger') === 0 ? [] : [numbered(found('stranger'), 'stranger')];
  return [
    numbered(blobs, 'blob'),
    formatBytes(bytes),
    ...(faults.length === 0 ? ['all sound'] : faults),
    ...strangers,
  ].join(', ');
}

function numbered(count: number, noun: string): string {
  return `${String(count)} ${noun}${count === 1 ? '' : 's'}`;
}

/** A name of a foreign file, on one line and without control characters. */
function printable(name: string): string {
  return name.replaceAll(/\p{C}/gu, '?');
}
