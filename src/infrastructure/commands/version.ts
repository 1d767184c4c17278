/** `version`: this program, and what it runs on, as a report of a mistake needs it. */
import { dirname } from 'node:path';
import { command, EXIT_CODE, EXIT_CODES, JSON_FLAG, writeJson } from '../../adapters/cli/command.ts';
import { alignRows } from '../../adapters/cli/format.ts';
import { commitOf } from '../commit.ts';

export const VERSION = command({
  about: `Prints the version of this program, the commit that it is made of, its Node, and the platform. It asks no service: \
/metrics of a service has its version in registry_packages_proxy_build_info.`,
  flags: { json: JSON_FLAG },
  examples: [
    { to: 'for the report of a mistake', run: 'version' },
    { to: 'the commit, for a script', run: 'version --json' },
  ],
  exits: { 0: EXIT_CODES[0], 1: EXIT_CODES[1] },
  run({ flags }, { stdout, version, defaultSettings }) {
    const commit = commitOf(dirname(dirname(defaultSettings)));
    const { platform, arch, versions } = process;
    if (flags.json === true) {
      writeJson(stdout, { version, commit: commit ?? null, node: versions.node, platform, arch });
    } else {
      stdout.write(
        alignRows([
          ['version', version],
          ['commit', commit ?? 'not known'],
          ['node', versions.node],
          ['platform', `${platform}/${arch}`],
        ]),
      );
    }
    return Promise.resolve(EXIT_CODE.done);
  },
});
