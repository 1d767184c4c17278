/** Finds the unreadable files that settings name and a start reads; all are reported before the first is used. */
import { accessSync, constants } from 'node:fs';
import { codeOf } from './format.ts';

/** The settings that name files; `*` stands for each item of a list. The settings are as written, and may have mistakes. */
const FILES = [
  ...['certificate', 'key', 'clientCA'].map((name) => ['server', 'tls', name]),
  ...['keys', 'roots'].map((name) => ['registry', 'signature', name]),
  ...['usernameFile', 'passwordFile', 'tokenFile'].map((name) => ['registry', 'mirrors', '*', name]),
  ['credentials', 'kubernetes', 'kubeconfig'],
];

/** Each sentence begins with its setting. */
export function unreadableFiles(written: unknown): string[] {
  const isRead = (setting: string): boolean =>
    !setting.startsWith('registry.signature.') || at(written, ['registry', 'signature', 'mode']) !== 'off';
  return FILES.flatMap((path) => expanded(written, path)).flatMap((path) => {
    const [setting, file] = [path.join('.'), at(written, path)];
    // An empty text means no file; a PEM in the place of a path is a different mistake.
    if (typeof file !== 'string' || file === '' || file.includes('-----BEGIN ') || !isRead(setting)) return [];
    try {
      accessSync(file, constants.R_OK);
      return [];
    } catch (error) {
      return [`${setting}: ${file} cannot be read (${codeOf(error)})`];
    }
  });
}

function expanded(written: unknown, path: readonly string[]): string[][] {
  const star = path.indexOf('*');
  if (star < 0) return [[...path]];
  const list = at(written, path.slice(0, star));
  if (!Array.isArray(list)) return [];
  return list.map((_, index) => [...path.slice(0, star), String(index), ...path.slice(star + 1)]);
}

function at(written: unknown, path: readonly string[]): unknown {
  return path.reduce((held, name) => (held as Record<string, unknown> | null | undefined)?.[name], written);
}
