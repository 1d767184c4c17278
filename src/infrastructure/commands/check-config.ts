/** `check-config`: the mistakes in settings that `serve` reports, and warnings that it does not give. */
import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { stringify } from 'yaml';
import { command, EXIT_CODE, EXIT_CODES } from '../../adapters/cli/command.ts';
import { formatBytes, formatError } from '../../adapters/cli/format.ts';
import { Layout } from '../../adapters/filesystem/layout.ts';
import { createLogger } from '../../adapters/log/logger.ts';
import { OciLayoutGateway } from '../../adapters/oci-layout/oci-layout-gateway.ts';
import { userOf } from '../../domain/credential.ts';
import { isFallback } from '../../domain/upstream.ts';
import { createContainer } from '../container/container.ts';
import { type ContainerInputs, T } from '../container/tokens.ts';
import { layOver, mergeSettings, readLayers, SETTINGS_FLAGS } from '../load-settings.ts';
import { isLoopback } from '../../adapters/http/server/http-server.ts';
import type { Settings } from '../settings.ts';
import { listBlobs } from './verify.ts';

type Container = Awaited<ReturnType<typeof createContainer>>;

const HIDDEN = '[secret]';
/** The fields of a registry that are shown; all others are hidden, new ones too. */
const SHOWN = ['repo', 'default', 'scheme', 'ca'];
/** A bucket that takes longer than this is of no help to a client. */
const BUCKET_MS = 10_000;
/** Readable for all users, in the mode of a file. */
const READABLE = 0o004;

export const CHECK_CONFIG = command({
  about: `Reads settings as "serve" does with the same flags, and reports every mistake with its line. Then it checks \
whether "serve" could start with them on this machine, except for the port, and warns of settings that are allowed but \
seldom meant. It changes nothing and asks no registry; a bucket it asks whether it is there.`,
  flags: {
    ...SETTINGS_FLAGS,
    print: { type: 'boolean', about: 'print the settings in effect as a settings file, without secrets' },
  },
  examples: [
    { to: 'a settings file, before the service is restarted with it', run: 'check-config --config my.yaml' },
    {
      to: 'the settings that a file and a flag result in',
      run: 'check-config --config my.yaml --log-level debug --print',
    },
  ],
  exits: {
    0: 'the settings are right, with or without warnings',
    1: EXIT_CODES[1],
    2: 'the settings are right, but "serve" could not start with them here',
  },
  async run({ flags }, terminal) {
    const { stdout, stderr, version, environment } = terminal;
    const layers = readLayers(flags, terminal);
    const settings = mergeSettings(layers);
    const { errors, container } = await startupErrors(settings, version, environment);
    for (const error of errors) stderr.write(`error: ${error}\n`);
    const warnings = [...(await warningsOf(settings, flags.config)), ...(await bucketWarnings(settings, container))];
    for (const warning of warnings) stderr.write(`warning: ${warning}\n`);
    if (flags.print === true) stdout.write(stringify(printableSettings(layOver(layers), settings), { lineWidth: 0 }));
    else stdout.write(errors.length === 0 ? 'the settings are right\n' : 'the settings are right, but not here\n');
    return errors.length === 0 ? EXIT_CODE.done : EXIT_CODE.faulty;
  },
});

/** Errors with which `serve` would end on this machine: the service is built as `serve` builds it, and not started. */
async function startupErrors(
  settings: Settings,
  version: string,
  environment: ContainerInputs['environment'],
): Promise<{ readonly errors: string[]; readonly container: Container | undefined }> {
  const { store, registry } = settings;
  let container: Container | undefined;
  const checks: (() => unknown)[] = [
    async () => {
      // Files of TLS, kubeconfig, proxies.
      const logger = createLogger('fatal', { write: () => undefined });
      container = await createContainer({ settings, logger, version, environment });
      container.get(T.SERVICE);
    },
    () => {
      if (store.enabled) checkStore(store.directory);
    },
    () => (registry.gateway === 'oci-layout' ? new OciLayoutGateway(registry.ociLayout.directory).check() : undefined),
  ];
  const errors: string[] = [];
  for (const check of checks) {
    try {
      await check();
    } catch (error) {
      errors.push(error instanceof Error ? error.message : 'unknown error');
    }
  }
  return { errors, container };
}

/** The directory itself or, while it does not exist, the nearest one above it that does. */
function nearestDirectory(directory: string): string {
  let nearest = resolve(directory);
  while (!existsSync(nearest) && dirname(nearest) !== nearest) nearest = dirname(nearest);
  return nearest;
}

function checkStore(directory: string): void {
  const nearest = nearestDirectory(directory);
  const where = nearest === directory ? directory : `${directory} cannot be made: ${nearest}`;
  if (!statSync(nearest).isDirectory()) throw new Error(`store.directory: ${where} is no directory`);
  try {
    accessSync(nearest, constants.W_OK | constants.X_OK);
  } catch (cause) {
    throw new Error(`store.directory: ${where} cannot be written`, { cause });
  }
}

/**
 * Settings that are allowed and seldom meant; each sentence begins with the setting. `file` is where the settings come from,
 * when they come from one.
 */
export async function warningsOf(settings: Settings, file: string | undefined): Promise<string[]> {
  return [
    ...serverWarnings(settings),
    ...(await storeWarnings(settings)),
    ...signatureWarnings(settings),
    ...credentialWarnings(settings),
    ...fileWarnings(settings, file),
  ];
}

function serverWarnings({ server: { listenAddress, tls } }: Settings): string[] {
  if (isLoopback(listenAddress) || tls.certificate !== '') return [];
  return ['server.listenAddress: other machines may reach it without authentication'];
}

async function storeWarnings({ store: { enabled, directory, maxSize } }: Settings): Promise<string[]> {
  if (!enabled) return [];
  const { bavail, bsize } = await statfs(nearestDirectory(directory));
  const { blobs } = new Layout(directory);
  const kept = existsSync(blobs.path)
    ? (await listBlobs(blobs)).blobs.reduce((sum, { stats }) => sum + stats.size, 0)
    : 0;
  const room = bavail * bsize + kept;
  if (maxSize <= room) return [];
  return [`store.maxSize: ${formatBytes(maxSize)} are more than the volume has for it, which is ${formatBytes(room)}`];
}

/** The service starts without its bucket, so this is no error. */
async function bucketWarnings(
  { registry: { gateway, bucket }, store }: Settings,
  container: Container | undefined,
): Promise<string[]> {
  if (bucket.endpoint === undefined) return [];
  const unwritten = bucket.write && gateway === 'oci' && !store.enabled;
  const warnings = unwritten ? ['registry.bucket.write: nothing is written while store.enabled is false'] : [];
  try {
    await container?.get(T.BUCKET)?.check(AbortSignal.timeout(BUCKET_MS));
  } catch (error) {
    warnings.push(`registry.bucket: cannot be used: ${formatError(error)}`);
  }
  return warnings;
}

function signatureWarnings({ registry: { gateway, signature } }: Settings): string[] {
  const { mode, keys, roots } = signature;
  if (mode === 'off' && (keys !== '' || roots !== '')) {
    return ['registry.signature.mode: is off, so no signature is verified'];
  }
  if (mode === 'off' || gateway !== 'oci-layout' || keys === '') return [];
  return ['registry.signature.keys: an OCI image layout holds no signature of cosign'];
}

function credentialWarnings({ credentials: { source, registries } }: Settings): string[] {
  if (source !== 'static') return [];
  const inClear = registries.flatMap(({ upstream: { registry } }, index) => {
    if (registry.scheme === 'https' || registry.credential.kind === 'anonymous') return [];
    return [`credentials.registries.${String(index)}.scheme: the password goes to ${registry.host} unencrypted`];
  });
  const warnings = [...inClear, ...anonymousByMistake(registries)];
  if (registries.length === 0)
    return ['credentials.registries: without any, every request is for an unknown repository'];
  if (registries.some(({ isDefault }) => isDefault)) return warnings;
  return [...warnings, 'credentials.registries: none is the default, so every request must name its repository'];
}

function anonymousByMistake(registries: Settings['credentials']['registries']): string[] {
  return registries.flatMap(({ upstream: { registry } }, index) => {
    if (!isFallback(registry)) return [];
    return [
      `credentials.registries.${String(index)}.dockerCfg: has no entry for ${registry.host}, which is entered anonymously`,
    ];
  });
}

function fileWarnings({ credentials: { registries } }: Settings, file: string | undefined): string[] {
  const hasSecret = registries.some(({ upstream }) => upstream.registry.credential.kind !== 'anonymous');
  if (file === undefined || !hasSecret || (statSync(file).mode & READABLE) === 0) return [];
  return [`${file}: holds a password, and everybody on this machine can read it`];
}

/** Settings as they are written, without secrets. `written` is what has been parsed as `settings`. */
function printableSettings(
  written: Record<string, unknown>,
  { credentials: { registries } }: Settings,
): Record<string, unknown> {
  const credentials = written['credentials'] as { readonly registries: readonly Record<string, unknown>[] };
  return {
    ...written,
    credentials: {
      ...credentials,
      registries: credentials.registries.map((registry, index) => {
        const credential = registries[index]?.upstream.registry.credential;
        const user = credential && userOf(credential);
        return Object.fromEntries(
          Object.entries(registry).map(([name, value]) => {
            if (name === 'username') return [name, user ?? HIDDEN];
            return [name, SHOWN.includes(name) ? value : HIDDEN];
          }),
        );
      }),
    },
  };
}
