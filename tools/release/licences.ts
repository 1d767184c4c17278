/** The licences of the run-time dependencies: the allowed ones, the actual ones and their texts. `npm run licences` lists them. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { format } from 'prettier';

/** SPDX ids of licences that allow to distribute the service, changed or not, together with their texts. */
const ALLOWED: ReadonlySet<string> = new Set([
  '0BSD',
  'Apache-2.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'CC0-1.0',
  'ISC',
  'MIT',
  'PSF-2.0',
  'Unlicense',
]);

/** The part of package-lock.json that lists the installed packages. */
export interface Lock {
  readonly packages: Readonly<Record<string, LockedPackage>>;
}

interface LockedPackage {
  readonly version?: string;
  readonly license?: string;
  readonly dev?: boolean;
  readonly devOptional?: boolean;
  /** Here only true for the package of Node for old hosts, which is in no bundle and no image. */
  readonly optional?: boolean;
}

/** Returns the packages that `npm ci --omit=dev` installs, with their folders, also those that are not in the bundle. */
function runningPackages({ packages }: Lock): [folder: string, locked: LockedPackage][] {
  return Object.entries(packages).filter(
    ([path, { dev, devOptional, optional }]) =>
      path !== '' && dev !== true && devOptional !== true && optional !== true,
  );
}

/** Returns the licence of each package by its name. */
export function licencesOf(lock: Lock): Map<string, string> {
  return new Map(runningPackages(lock).map(([folder, { license = '' }]) => [nameOf(folder), license]));
}

/** Returns the problems as sentences. */
export function judgeLicences(licences: ReadonlyMap<string, string>): string[] {
  return [...licences].flatMap(([name, licence]) =>
    isAllowed(licence) ? [] : [`${name}: ${licence === '' ? 'no licence' : `licence ${licence}`} is not allowed`],
  );
}

/** Supports the SPDX expressions that packages use: lists with OR and lists with AND. */
function isAllowed(expression: string): boolean {
  const text = expression.replace(/^\((.*)\)$/, '$1');
  if (/[()]/.test(text)) return false;
  return text.split(' OR ').some((choice) => choice.split(' AND ').every((id) => ALLOWED.has(id)));
}

/** Returns docs/licences.md, formatted by prettier. */
export async function licencePage(licences: ReadonlyMap<string, string>): Promise<string> {
  const names = Map.groupBy(licences.keys(), (name) => licences.get(name) ?? '');
  const rows = [...names].sort(([a], [b]) => a.localeCompare(b));
  const page = `# Licences

The service is under Apache-2.0. Its run-time dependencies are under these; \`npm run licences\` writes this page, and \`npm run build\` their texts to \`dist/licences.txt\`, beside the bundle. Which licences may be here is in \`tools/release/licences.ts\`; [releasing](releasing.md) says when that is checked.

| licence | packages |
| --- | --- |
${rows.map(([licence, own]) => `| ${licence} | ${own.sort().join(', ')} |`).join('\n')}
`;
  return format(page, { parser: 'markdown', printWidth: 120 });
}

/** Returns the licence texts of all installed run-time packages. */
export function licenceTexts(root: string): string {
  const texts = runningPackages(readLock(root)).map(([folder, { version = '', license = '' }]) => {
    const files = readdirSync(join(root, folder)).filter((file) =>
      /^(licen[cs]e|copying|notice|unlicense)/i.test(file),
    );
    const text = files.sort().map((file) => readFileSync(join(root, folder, file), 'utf8').trim());
    return [`${nameOf(folder)} ${version} (${license})`, ...text].join('\n\n');
  });
  return `${texts.join(`\n\n${'-'.repeat(80)}\n\n`)}\n`;
}

/** For `node_modules/a/node_modules/@b/c` it is `@b/c`. */
function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
}

export function readLock(root: string): Lock {
  return JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as Lock;
}

if (import.meta.main) {
  const root = join(import.meta.dirname, '../..');
  writeFileSync(join(root, 'docs/licences.md'), await licencePage(licencesOf(readLock(root))));
}
