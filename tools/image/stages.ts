/** Runs the stages of the Dockerfile: the first in a directory, the last in a root file system. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, statSync, symlinkSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import { parseExecForm, parseLabels, type Stage } from './dockerfile.ts';
import type { RunConfiguration } from './oci-image.ts';

const PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** The working directory of the build stage. */
const SOURCE = '/src';

export interface Places {
  /** The checkout, with its node_modules. */
  readonly project: string;
  /** The paths of the checkout in the build context. */
  readonly context: readonly string[];
  readonly source: string;
  readonly root: string;
  readonly bubblewrap: string;
}

/** Runs the commands of the first stage with only the build context. The packages of `npm ci` come from the checkout. */
export function runBuildStage({ instructions }: Stage, { project, context, source }: Places): void {
  for (const path of context) cpSync(join(project, path), join(source, path), { recursive: true });
  symlinkSync(join(project, 'node_modules'), join(source, 'node_modules'));
  const commands = instructions.filter(({ keyword, text }) => keyword === 'RUN' && !text.startsWith('npm ci '));
  for (const { text } of commands) {
    execFileSync('sh', ['-euc', text], { cwd: source, stdio: ['ignore', 'ignore', 'inherit'] });
  }
}

/** Adds the files of the last stage to its base; returns the run configuration of the image. */
export function runFinalStage({ instructions }: Stage, places: Places): RunConfiguration {
  let config: RunConfiguration = { User: '', Entrypoint: [], Env: [PATH], Labels: {} };
  for (const { keyword, text } of instructions) {
    switch (keyword) {
      case 'COPY':
        copy(text, places);
        break;
      case 'RUN':
        run(parseExecForm(text), places);
        break;
      case 'USER':
        config = { ...config, User: text };
        break;
      case 'LABEL':
        config = { ...config, Labels: { ...config.Labels, ...parseLabels(text) } };
        break;
      case 'ENTRYPOINT':
        config = { ...config, Entrypoint: parseExecForm(text) };
        break;
      default:
        throw new Error(`Dockerfile: ${keyword} is not supported here`);
    }
  }
  return config;
}

function copy(text: string, { source, root }: Places): void {
  const [, words = ''] = /^--from=build (.*)$/.exec(text) ?? [];
  const paths = words.split(' ');
  const target = paths.pop() ?? '';
  if (!target.startsWith('/') || !target.endsWith('/')) throw new Error(`Dockerfile: invalid COPY: ${text}`);
  mkdirSync(join(root, target), { recursive: true });
  for (const path of paths) {
    const from = join(source, relative(SOURCE, path));
    // As in Docker, COPY of a directory copies its entries.
    const to = statSync(from).isDirectory() ? target : join(target, basename(path));
    cpSync(from, join(root, to), { recursive: true });
  }
}

/** Runs a command without a network, with root permissions only in this root file system. */
function run(command: readonly string[], { root, bubblewrap }: Places): void {
  const rights = ['--unshare-all', '--uid', '0', '--gid', '0', '--die-with-parent', '--clearenv'];
  const mounts = ['--bind', root, '/', '--proc', '/proc', '--dev', '/dev'];
  // The standard streams are always pipes, because the code that V8 compiles depends on them.
  execFileSync(bubblewrap, [...rights, ...mounts, ...command], { stdio: 'pipe' });
}
