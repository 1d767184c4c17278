/** Checks that all places have the version of package.json. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The other places with the version, and a pattern for each. */
const PLACES: readonly { readonly file: string; readonly field: string; readonly pattern: RegExp }[] = [
  { file: 'package-lock.json', field: 'version', pattern: /^ {2}"version": "(.*)"/m },
  { file: 'package-lock.json', field: 'packages', pattern: /^ {4}"": \{[^}]*?"version": "(.*)"/m },
  { file: 'charts/registry-packages-proxy/Chart.yaml', field: 'version', pattern: /^version: (.*)$/m },
  { file: 'charts/registry-packages-proxy/Chart.yaml', field: 'appVersion', pattern: /^appVersion: (.*)$/m },
  { file: 'docs/openapi.yaml', field: 'info.version', pattern: /^info:\n(?: .*\n)*? {2}version: (.*)$/m },
  { file: 'Dockerfile', field: 'image.version', pattern: /image\.version=(\S+)/ },
];

export function readVersion(root: string): string {
  return (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }).version;
}

/** Returns a sentence for each place with another version. */
export function judgeVersions(root: string): string[] {
  const version = readVersion(root);
  const faults = PLACES.flatMap(({ file, field, pattern }) => {
    const [, said = 'none'] = pattern.exec(readFileSync(join(root, file), 'utf8')) ?? [];
    return said.replaceAll('"', '') === version ? [] : [`${file}: ${field} is ${said}, and not ${version}`];
  });
  return /^\d+\.\d+\.\d+$/.test(version) ? faults : [`package.json: ${version} is no version of a release`, ...faults];
}
