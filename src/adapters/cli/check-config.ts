/** `check-config`: the mistakes in settings that `serve` reports, and warnings that it does not give. */
import { stringify } from 'yaml';
import { userOf } from '../../domain/credential.ts';
import type { Upstream } from '../../domain/upstream.ts';
import {
  type Command,
  command,
  EXIT_CODE,
  EXIT_CODES,
  JSON_FLAG,
  SETTINGS_FLAGS,
  SettingsError,
  type Terminal,
  type Values,
  writeJson,
} from './command.ts';

const HIDDEN = '[secret]';
/** The fields of a registry that are shown; all others are hidden, new ones too. */
const SHOWN = ['repo', 'default', 'scheme', 'ca', 'caFile', 'passwordFile', 'dockerCfgFile'];

/** Settings without a mistake. */
interface Config {
  /** As files and flags have them, laid one over the other. */
  readonly written: Readonly<Record<string, unknown>>;
  readonly registries: readonly { readonly upstream: Upstream }[];
  /** Errors with which `serve` would end on this machine, and warnings. */
  check(): Promise<{ readonly errors: readonly string[]; readonly warnings: readonly string[] }>;
}

/** @throws SettingsError for mistakes */
type ReadConfig = (flags: Values<typeof SETTINGS_FLAGS>, terminal: Terminal) => Config;

export function checkConfigCommand(readConfig: ReadConfig): Command {
  return command({
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
      const { stdout, stderr } = terminal;
      let config: Config;
      try {
        config = readConfig(flags, terminal);
      } catch (error) {
        if (flags.json !== true || !(error instanceof SettingsError)) throw error;
        const { problems: mistakes } = error;
        writeJson(stdout, { verdict: 'wrong', mistakes, errors: [], warnings: [], settings: null });
        return EXIT_CODE.refused;
      }
      const { errors, warnings } = await config.check();
      const isRight = errors.length === 0;
      if (flags.json === true) {
        const settings = flags.print === true ? printableSettings(config) : null;
        writeJson(stdout, { verdict: isRight ? 'right' : 'right_elsewhere', mistakes: [], errors, warnings, settings });
      } else {
        for (const error of errors) stderr.write(`error: ${error}\n`);
        for (const warning of warnings) stderr.write(`warning: ${warning}\n`);
        if (flags.print === true) stdout.write(stringify(printableSettings(config), { lineWidth: 0 }));
        else stdout.write(isRight ? 'the settings are right\n' : 'the settings are right, but not here\n');
      }
      return isRight ? EXIT_CODE.done : EXIT_CODE.faulty;
    },
  });
}

/** Settings as they are written, without secrets. */
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
