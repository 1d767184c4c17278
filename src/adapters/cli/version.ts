/** `version`: prints the versions of this program, of Node and of the system, for a bug report. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { command, EXIT_CODE, EXIT_CODES, JSON_FLAG, writeJson } from './command.ts';
import { alignRows } from './format.ts';

const GIT_MS = 5000;

export const VERSION = command({
  about: `Prints the version of this program, its commit, its Node and the platform. It asks no service: \
the version of a service is in its /metrics, as registry_packages_proxy_build_info.`,
  flags: { json: JSON_FLAG },
  examples: [
    { to: 'for a bug report', run: 'version' },
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

/** Returns the commit of this program: of the bundle, from its build, or of the checkout; undefined if neither is known. */
export function commitOf(root: string): string | undefined {
  if (existsSync(join(root, 'src'))) return commitOfCheckout(root);
  try {
    const commit = readFileSync(join(root, 'dist/commit'), 'utf8').trim();
    return commit === 'unknown' ? undefined : commit;
  } catch {
    return undefined;
  }
}

/** A checkout with uncommitted changes has the last commit with the suffix `-dirty`. */
function commitOfCheckout(root: string): string | undefined {
  const git = (...args: string[]): string =>
    execFileSync('git', ['-C', root, ...args], { encoding: 'utf8', timeout: GIT_MS, stdio: 'pipe' }).trim();
  try {
    // An archive of the sources may be inside the checkout of another project.
    if (git('rev-parse', '--show-prefix') !== '') return undefined;
    return `${git('rev-parse', 'HEAD')}${git('status', '--porcelain', '--untracked-files=no') === '' ? '' : '-dirty'}`;
  } catch {
    return undefined;
  }
}
