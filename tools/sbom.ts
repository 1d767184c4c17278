/** The SBOM of the bundle: the packages of a run-time install from `npm sbom`, with the same bytes in each build. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Metafile } from 'esbuild';

interface Manifest {
  devDependencies?: unknown;
  optionalDependencies?: unknown;
}

interface LockedPackage extends Manifest {
  readonly dev?: boolean;
  readonly optional?: boolean;
  readonly devOptional?: boolean;
}

/** The parts of an SPDX 2.3 document that are used here. */
export interface Sbom {
  documentNamespace: string;
  readonly creationInfo: { created: string };
  readonly packages: readonly { readonly name: string; readonly versionInfo: string }[];
  readonly relationships: readonly unknown[];
}

/** Creates the SBOM of the project in this directory, with the date `secondsSinceEpoch`. */
export function createSbom(root: string, secondsSinceEpoch: number): Sbom {
  const sbom = JSON.parse(runNpmSbom(root)) as Sbom;
  // Replaces the time and the random name, which differ in each run.
  const content = createHash('sha256')
    .update(JSON.stringify([sbom.packages, sbom.relationships]))
    .digest('hex');
  sbom.documentNamespace = `https://spdx.org/spdxdocs/registry-packages-proxy-${content}`;
  sbom.creationInfo.created = new Date(secondsSinceEpoch * 1000).toISOString().replace('.000Z', 'Z');
  return sbom;
}

/** The packages whose code is in a bundle. */
export function bundledPackages({ outputs }: Metafile): Set<string> {
  const files = Object.values(outputs).flatMap(({ inputs }) => Object.entries(inputs));
  const names = files.map(([path, { bytesInOutput }]) => {
    const [, name] = /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path) ?? [];
    return bytesInOutput > 0 ? name : undefined;
  });
  return new Set(names.filter((name) => name !== undefined));
}

/**
 * Runs in a copy of the project without development packages, because `npm sbom --omit=dev` leaves out packages that are also
 * development dependencies (github.com/npm/cli/issues/7909).
 */
function runNpmSbom(root: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'sbom-'));
  try {
    const manifest = readJson(root, 'package.json') as Manifest;
    const lock = readJson(root, 'package-lock.json') as { packages: Record<string, LockedPackage> };
    const kept = Object.entries(lock.packages).filter(
      ([, { dev, optional, devOptional }]) => dev !== true && optional !== true && devOptional !== true,
    );
    const packages = Object.fromEntries(kept);
    for (const each of [manifest, packages['']]) {
      delete each?.devDependencies;
      delete each?.optionalDependencies;
    }
    writeFileSync(join(directory, 'package.json'), JSON.stringify(manifest));
    writeFileSync(join(directory, 'package-lock.json'), JSON.stringify({ ...lock, packages }));
    const command = ['sbom', '--sbom-format=spdx', '--package-lock-only'];
    return execFileSync('npm', command, { cwd: directory, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function readJson(root: string, name: string): unknown {
  return JSON.parse(readFileSync(join(root, name), 'utf8'));
}
