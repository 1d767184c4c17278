/** The commit that this program is made of. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const GIT_MS = 5000;

/** That of the bundle, written when it was made, or that of the checkout; undefined where neither is known. */
export function commitOf(root: string): string | undefined {
  if (existsSync(join(root, 'src'))) return commitOfCheckout(root);
  try {
    const commit = readFileSync(join(root, 'dist/commit'), 'utf8').trim();
    return commit === 'unknown' ? undefined : commit;
  } catch {
    return undefined;
  }
}

/** A checkout with changes that are not committed is its last commit, with `-dirty` behind it. */
function commitOfCheckout(root: string): string | undefined {
  const git = (...args: string[]): string =>
    execFileSync('git', ['-C', root, ...args], { encoding: 'utf8', timeout: GIT_MS, stdio: 'pipe' }).trim();
  try {
    // An archive of the sources may lie in the checkout of another project.
    if (git('rev-parse', '--show-prefix') !== '') return undefined;
    return `${git('rev-parse', 'HEAD')}${git('status', '--porcelain', '--untracked-files=no') === '' ? '' : '-dirty'}`;
  } catch {
    return undefined;
  }
}
