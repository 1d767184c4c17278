/** `check-config`: what `serve` would say of its settings, and what it would not. */
import { stringify } from 'yaml';
import { layOver, mergeSettings } from '../load-settings.ts';
import { command } from '../../adapters/cli/command.ts';
import { EXIT_CODE, EXIT_CODES } from '../../adapters/cli/exit-code.ts';
import { startupErrors } from './startup-errors.ts';
import { printableSettings } from './printable-settings.ts';
import { readLayers, SETTINGS_FLAGS } from './settings-flags.ts';
import { warningsOf } from './warnings.ts';

export const CHECK_CONFIG = command({
  about: `Reads settings as "serve" does with the same flags, and says every mistake with its line. Then it looks whether \
"serve" could start with them on this machine, short of listening, and warns of what is allowed but seldom meant. It \
changes nothing and asks no registry.`,
  flags: {
    ...SETTINGS_FLAGS,
    print: { type: 'boolean', about: 'print the settings in effect as a settings file, without secrets' },
  },
  examples: [
    { to: 'a settings file, before the service is restarted with it', run: 'check-config --config my.yaml' },
    { to: 'what a file and a flag come to', run: 'check-config --config my.yaml --log-level debug --print' },
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
    const errors = await startupErrors(settings, version, environment);
    for (const error of errors) stderr.write(`error: ${error}\n`);
    for (const warning of await warningsOf(settings, flags.config)) stderr.write(`warning: ${warning}\n`);
    if (flags.print === true) stdout.write(stringify(printableSettings(layOver(layers), settings), { lineWidth: 0 }));
    else stdout.write(errors.length === 0 ? 'the settings are right\n' : 'the settings are right, but not here\n');
    return errors.length === 0 ? EXIT_CODE.done : EXIT_CODE.faulty;
  },
});
