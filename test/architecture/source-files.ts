/** The source text as data: which file imports what, by TypeScript's own scanner. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import ts from 'typescript';

export interface SourceFile {
  /** From the project's root, as `src/domain/descriptor.ts`. */
  readonly path: string;
  readonly text: string;
  /** Project files (from the root) and packages or builtins (by their name), type-only imports too. */
  readonly imports: readonly string[];
}

export const ROOT = resolve(import.meta.dirname, '../..');

export function sourceFiles(folder: string): SourceFile[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => read(join(folder, name)))
    .sort((a, b) => a.path.localeCompare(b.path));
}

function read(path: string): SourceFile {
  const text = readFileSync(join(ROOT, path), 'utf8');
  const imports = ts.preProcessFile(text, true, true).importedFiles.map(({ fileName }) => {
    if (!fileName.startsWith('.')) return packageName(fileName);
    return relative(ROOT, resolve(ROOT, dirname(path), fileName));
  });
  return { path, text, imports };
}

/** `@scope/name/deep` is a part of `@scope/name`; a builtin keeps its whole name. */
function packageName(specifier: string): string {
  if (specifier.startsWith('node:')) return specifier;
  return specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
}
