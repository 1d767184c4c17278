/** Does what the Dockerfile says: its first stage in a directory, its last one in a root file system. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, statSync, symlinkSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import { parseExecForm, parseLabels, type Stage } from './dockerfile.ts';
import type { RunConfiguration } from './oci-image.ts';

const PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Where the Dockerfile builds. */
const SOURCE = '/src';

export interface Places {
  /** The checkout, with its node_modules. */
  readonly project: string;
  /** The paths of the checkout that the build sees. */
  readonly context: readonly string[];
  readonly source: string;
  readonly root: string;
  readonly bubblewrap: string;
}

/** Runs the commands of the first stage where only the context is; what `npm ci` would install is here already. */
export function runBuildStage({ instructions }: Stage, { project, context, source }: Places): void {
  for (const path of context) cpSync(join(project, path), join(source, path), { recursive: true });
  symlinkSync(join(project, 'node_modules'), join(source, 'node_modules'));
  const commands = instructions.filter(({ keyword, text }) => keyword === 'RUN' && !text.startsWith('npm ci '));
  for (const { text } of commands) {
    execFileSync('sh', ['-euc', text], { cwd: source, stdio: ['ignore', 'ignore', 'inherit'] });
  }
}

/** Makes the root file system of the last stage upon its base, and says how the image is run. */
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
        throw new Error(`Dockerfile: ${keyword} is not understood here`);
    }
  }
  return config;
}

function copy(text: string, { source, root }: Places): void {
  const [, words = ''] = /^--from=build (.*)$/.exec(text) ?? [];
  const paths = words.split(' ');
  const target = paths.pop() ?? '';
  if (!target.startsWith('/') || !target.endsWith('/')) throw new Error(`Dockerfile: COPY what? ${text}`);
  mkdirSync(join(root, target), { recursive: true });
  for (const path of paths) {
    const from = join(source, relative(SOURCE, path));
    // A directory stands for its entries, as in Docker.
    const to = statSync(from).isDirectory() ? target : join(target, basename(path));
    cpSync(from, join(root, to), { recursive: true });
  }
}

/** Without a network and as root of nothing but this root file system. */
function run(command: readonly string[], { root, bubblewrap }: Places): void {
  const rights = ['--unshare-all', '--uid', '0', '--gid', '0', '--die-with-parent', '--clearenv'];
  const mounts = ['--bind', root, '/', '--proc', '/proc', '--dev', '/dev'];
  // Always pipes: what V8 compiles depends on what the standard streams are.
  execFileSync(bubblewrap, [...rights, ...mounts, ...command], { stdio: 'pipe' });
}
