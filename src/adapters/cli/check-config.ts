/** `check-config`: reports the mistakes in settings that `serve` reports, and additional warnings. */
import { stringify } from 'yaml';
import { userOf } from '../../domain/credential.ts';
import { digestOf } from '../../domain/descriptor.ts';
import { isOneOf } from '../../domain/errors.ts';
import type { RegistryGateway } from '../../domain/ports/registry-gateway.ts';
import type { RepositoryPath } from '../../domain/reference.ts';
import type { Upstream } from '../../domain/upstream.ts';
import {
  type Command,
  command,
  EXIT_CODE,
  EXIT_CODES,
  type ExitCode,
  JSON_FLAG,
  SETTINGS_FLAGS,
  type Terminal,
  type Values,
  writeJson,
} from './command.ts';
import { formatError } from './format.ts';

const HIDDEN = '[secret]';
/** The fields of a registry that are printed; all others are hidden, including new ones. */
const SHOWN = ['repo', 'default', 'scheme', 'ca', 'caFile', 'passwordFile', 'dockerCfgFile'];

interface Config {
  /** Each line is `file:line: setting: mistake`. */
  readonly mistakes: readonly string[];
  /** The merged settings of files and flags, as they are written. */
  readonly written: Readonly<Record<string, unknown>>;
  readonly registries: readonly { readonly upstream: Upstream }[];
  /**
   * Resolves with the errors with which `serve` would fail on this machine, and with warnings; with mistakes in the
   * settings, only with those that are independent of the mistakes.
   */
  check(isOnline: boolean): Promise<{
    readonly errors: readonly string[];
    readonly warnings: readonly string[];
    /** Null if no registry was asked. */
    readonly answers: readonly RegistryAnswer[] | null;
  }>;
}

/** @throws SettingsError for an unreadable file */
type ReadConfig = (flags: Values<typeof SETTINGS_FLAGS>, terminal: Terminal) => Config;

export function checkConfigCommand(readConfig: ReadConfig): Command {
  return command({
    about: `Reads settings as "serve" does with the same flags, and reports every mistake with its line. Then it checks \
whether "serve" could start with them on this machine, and warns of a port in use and of settings that are \
probably not intended. It changes nothing. It connects to mirrors and a bucket; with --online also to each registry of \
credentials.registries, with its account, for at most 15 seconds.`,
    flags: {
      ...SETTINGS_FLAGS,
      print: { type: 'boolean', about: 'print the settings in effect as a settings file, without secrets' },
      online: { type: 'boolean', about: 'check whether each registry answers and accepts the account' },
      json: JSON_FLAG,
    },
    examples: [
      { to: 'a settings file, before a restart of the service', run: 'check-config --config my.yaml' },
      {
        to: 'the settings that a file and a flag result in',
        run: 'check-config --config my.yaml --log-level debug --print',
      },
      { to: 'the registries and their accounts, too', run: 'check-config --config my.yaml --online' },
    ],
    exits: {
      0: 'the settings are right, with or without warnings',
      1: EXIT_CODES[1],
      2: 'the settings are right, but "serve" could not start with them here, or a registry did not answer or refused the account',
    },
    async run({ flags }, terminal) {
      const { stdout, stderr } = terminal;
      const config = readConfig(flags, terminal);
      const { mistakes } = config;
      const { errors, warnings: found, answers } = await config.check(flags.online === true);
      const warnings = answers?.length === 0 ? [...found, NO_REGISTRY] : found;
      const unusable = answers?.filter(({ outcome }) => outcome !== 'answers') ?? [];
      const [verdict, code] = verdictOf(mistakes, [...errors, ...unusable]);
      const settings = flags.print === true && verdict !== 'wrong' ? printableSettings(config) : null;
      if (flags.json === true) {
        writeJson(stdout, { verdict, mistakes, errors, warnings, registries: answers, settings });
        return code;
      }
      for (const mistake of mistakes) stderr.write(`${mistake}\n`);
      for (const error of errors) stderr.write(`error: ${error}\n`);
      for (const { setting, host, outcome, cause } of unusable)
        stderr.write(
          `error: ${setting}: ${host} ${outcome === 'refuses' ? 'refuses the account' : 'cannot be asked'}: ${String(cause)}\n`,
        );
      for (const warning of warnings) stderr.write(`warning: ${warning}\n`);
      if (settings !== null) stdout.write(stringify(settings, { lineWidth: 0 }));
      else {
        for (const { setting, host, outcome } of answers ?? [])
          if (outcome === 'answers') stdout.write(`${setting}: ${host} answers\n`);
        stdout.write(VERDICTS[verdict]);
      }
      return code;
    },
  });
}

/** Only the service asks registries that a cluster configures. */
const NO_REGISTRY = '--online: credentials.registries is empty, so no registry is asked';
const VERDICTS = {
  right: 'the settings are right\n',
  right_elsewhere: 'the settings are right, but not here\n',
  wrong: '',
} as const;

function verdictOf(mistakes: readonly string[], errors: readonly unknown[]): [keyof typeof VERDICTS, ExitCode] {
  if (mistakes.length > 0) return ['wrong', EXIT_CODE.refused];
  return errors.length > 0 ? ['right_elsewhere', EXIT_CODE.faulty] : ['right', EXIT_CODE.done];
}

/** Returns the settings as they are written, without secrets. */
function printableSettings({ written, registries }: Config): Record<string, unknown> {
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

interface RegistryAnswer {
  /** The name of the setting, such as `credentials.registries.0`. */
  readonly setting: string;
  readonly host: string;
  readonly outcome: 'answers' | 'refuses' | 'unreachable';
  /** Undefined if the registry answers. */
  readonly cause?: string;
}

/** The time limit for all registries together. */
const PATIENCE_MS = 15_000;
/**
 * The digest of a manifest that no registry has: before a registry says so, it checks the account's access to this
 * repository.
 */
const ABSENT = digestOf(Buffer.from('check-config: no registry has a manifest with these bytes'));
/** The repository for a registry that is configured without a path. */
const SOME_REPOSITORY = 'check-config' as RepositoryPath;

/** Asks the registries of the settings, each with its own account, whether they would deliver packages. */
export function askRegistries(
  registries: readonly { readonly upstream: Upstream }[],
  gateway: Pick<RegistryGateway, 'fetchManifest'>,
): Promise<RegistryAnswer[]> {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  return Promise.all(
    registries.map(async ({ upstream: { registry, repository = SOME_REPOSITORY } }, index): Promise<RegistryAnswer> => {
      const asked = { setting: `credentials.registries.${String(index)}`, host: registry.host };
      try {
        await gateway.fetchManifest({ registry, repository }, ABSENT, signal);
      } catch (error) {
        if (signal.aborted)
          return { ...asked, outcome: 'unreachable', cause: `no answer in ${String(PATIENCE_MS / 1000)} s` };
        const isAnswer = isOneOf(error, 'MANIFEST_UNKNOWN', 'NAME_UNKNOWN', 'BLOB_UNKNOWN');
        const outcome = isOneOf(error, 'UPSTREAM_DENIED') ? 'refuses' : 'unreachable';
        if (!isAnswer) return { ...asked, outcome, cause: formatError(error) };
      }
      return { ...asked, outcome: 'answers' };
    }),
  );
}
