/** `check-config`: the mistakes in settings that `serve` reports, and warnings that it does not give. */
import { accessSync, constants, statSync } from 'node:fs';
import { stringify } from 'yaml';
import { command, EXIT_CODE, EXIT_CODES, JSON_FLAG, type Terminal, writeJson } from '../../adapters/cli/command.ts';
import { formatError } from '../../adapters/cli/format.ts';
import { createLogger } from '../../adapters/log/logger.ts';
import { OciLayoutGateway } from '../../adapters/oci-layout/oci-layout-gateway.ts';
import { userOf } from '../../domain/credential.ts';
import { createContainer } from '../container/container.ts';
import { type ContainerInputs, T } from '../container/tokens.ts';
import { layOver, mergeSettings, readLayers, SETTINGS_FLAGS, SettingsError } from '../load-settings.ts';
import type { Settings } from '../settings.ts';
import { nearestDirectory, warningsOf } from './settings-warnings.ts';

type Container = Awaited<ReturnType<typeof createContainer>>;

const HIDDEN = '[secret]';
/** The fields of a registry that are shown; all others are hidden, new ones too. */
const SHOWN = ['repo', 'default', 'scheme', 'ca', 'caFile', 'passwordFile', 'dockerCfgFile'];
/** A bucket or a mirror that takes longer than this is of no help to a client. */
const SOURCE_MS = 10_000;

export const CHECK_CONFIG = command({
  about: `Reads settings as "serve" does with the same flags, and reports every mistake with its line. Then it checks \
whether "serve" could start with them on this machine, except for the port, and warns of settings that are allowed but \
seldom meant. It changes nothing and asks no registry; mirrors and a bucket it asks whether they are there.`,
  flags: {
    ...SETTINGS_FLAGS,
    print: { type: 'boolean', about: 'print the settings in effect as a settings file, without secrets' },
    json: JSON_FLAG,
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
    const settings = readOrTell(flags, terminal);
    if (settings === undefined) return EXIT_CODE.refused;
    const written = layOver(readLayers(flags, terminal));
    const { errors, container } = await startupErrors(settings, version, environment);
    const warnings = [
      ...(await warningsOf(settings, flags.config, written)),
      ...(await mirrorWarnings(settings, container)),
      ...(await bucketWarnings(settings, container)),
    ];
    if (flags.json === true) {
      const printed = flags.print === true ? printableSettings(written, settings) : null;
      const verdict = errors.length === 0 ? 'right' : 'right_elsewhere';
      writeJson(stdout, { verdict, mistakes: [], errors, warnings, settings: printed });
      return errors.length === 0 ? EXIT_CODE.done : EXIT_CODE.faulty;
    }
    for (const error of errors) stderr.write(`error: ${error}\n`);
    for (const warning of warnings) stderr.write(`warning: ${warning}\n`);
    if (flags.print === true) stdout.write(stringify(printableSettings(written, settings), { lineWidth: 0 }));
    else stdout.write(errors.length === 0 ? 'the settings are right\n' : 'the settings are right, but not here\n');
    return errors.length === 0 ? EXIT_CODE.done : EXIT_CODE.faulty;
  },
});

/** Undefined when the mistakes are told as JSON. @throws SettingsError when they are not */
function readOrTell(
  flags: Parameters<typeof readLayers>[0] & { readonly json?: boolean },
  terminal: Terminal,
): Settings | undefined {
  try {
    return mergeSettings(readLayers(flags, terminal));
  } catch (error) {
    if (flags.json !== true || !(error instanceof SettingsError)) throw error;
    const { problems: mistakes } = error;
    writeJson(terminal.stdout, { verdict: 'wrong', mistakes, errors: [], warnings: [], settings: null });
    return undefined;
  }
}

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

/** The service starts without its mirrors, so this is no error. */
async function mirrorWarnings({ registry }: Settings, container: Container | undefined): Promise<string[]> {
  const answers = (container?.get(T.MIRRORS) ?? []).map(async (mirror, index) => {
    try {
      await mirror.check(AbortSignal.timeout(SOURCE_MS));
      return [];
    } catch (error) {
      return [
        `registry.mirrors.${String(index)}: ${String(registry.mirrors[index]?.host)} cannot be used: ${formatError(error)}`,
      ];
    }
  });
  return (await Promise.all(answers)).flat();
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
    await container?.get(T.BUCKET)?.check(AbortSignal.timeout(SOURCE_MS));
  } catch (error) {
    warnings.push(`registry.bucket: cannot be used: ${formatError(error)}`);
  }
  return warnings;
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
