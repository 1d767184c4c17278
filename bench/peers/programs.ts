/** Finds the programs of the peers on this machine, and their versions. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { findProgram } from '../../test/support/peers/binaries.ts';
import type { Workspace } from '../workspace.ts';

export const ROOT = join(import.meta.dirname, '../..');
const BUNDLE = 'dist/start.mjs';
const SOURCES = 'src/infrastructure/main.ts';

export interface Programs {
  /** The program of this project that is measured. */
  readonly service: string;
  readonly load: string;
  readonly copyproxy: string;
  readonly nginx: string | undefined;
  readonly registry: string | undefined;
  /** The program of the chart's sidecar, and the program that renders the chart. */
  readonly 'kube-rbac-proxy': string | undefined;
  readonly helm: string | undefined;
  readonly versions: Readonly<Record<string, string>>;
  /** The reasons why some figures are missing. */
  readonly missing: readonly string[];
}

const run = promisify(execFile);

/** @throws Error without Go, which compiles the clients */
export async function findPrograms(workspace: Workspace, service?: string): Promise<Programs> {
  const nginx = findProgram('nginx');
  const registry = findProgram('docker-registry');
  const [sidecar, helm] = [findProgram('kube-rbac-proxy'), findProgram('helm')];
  const versions = {
    nginx: nginx && (await printed(nginx, ['-v'], /nginx\/(\S+)/)),
    distribution: registry && (await printed(registry, ['--version'], /(\d\S+)\s*$/)),
    'kube-rbac-proxy': sidecar && (await printed(sidecar, ['--version'], /(v\d\S+)/)),
    go: await printed('go', ['version'], /go(\d\S+)/),
  };
  return {
    service: resolve(ROOT, service ?? (existsSync(join(ROOT, BUNDLE)) ? BUNDLE : SOURCES)),
    load: await build(workspace, 'bench/load'),
    copyproxy: await build(workspace, 'bench/peers/copyproxy'),
    nginx,
    registry,
    'kube-rbac-proxy': sidecar,
    helm,
    versions: Object.fromEntries(Object.entries(versions).filter((entry) => entry[1] !== undefined)) as Record<
      string,
      string
    >,
    missing: [
      ...(nginx === undefined
        ? ['nginx is not installed (tools/peers.sh installs it): there is no comparison with nginx']
        : []),
      ...(registry === undefined
        ? [
            'docker-registry is not installed (tools/peers.sh installs it): misses are not measured, and there is no comparison with distribution',
          ]
        : []),
      ...(sidecar === undefined || helm === undefined
        ? [
            'kube-rbac-proxy or helm is not installed (tools/peers.sh installs them): nothing is measured through the sidecar',
          ]
        : []),
    ],
  };
}

async function build(workspace: Workspace, folder: string): Promise<string> {
  const path = join(workspace.directory, folder.replaceAll('/', '-'));
  await run('go', ['build', '-o', path, '.'], { cwd: join(ROOT, folder) });
  return path;
}

async function printed(path: string, args: readonly string[], pattern: RegExp): Promise<string> {
  const { stdout, stderr } = await run(path, args).catch((cause: unknown) => {
    throw new Error(`cannot run ${path}`, { cause });
  });
  return pattern.exec(`${stdout}${stderr}`)?.[1] ?? 'of unknown version';
}
