/** `npm run house:size -- [COMMIT]`: counts the files, lines and exported names of each room of src, in the checkout or a commit. */
import { execFileSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';

const ROOT = join(import.meta.dirname, '..');

interface Size {
  readonly files: number;
  readonly lines: number;
  readonly exports: number;
}

const [commit] = process.argv.slice(2);
const sizes = new Map<string, Size>();
for (const [path, text] of commit === undefined ? checkout() : committed(commit)) {
  for (const room of [roomOf(path), 'src']) {
    const { files, lines, exports } = sizes.get(room) ?? { files: 0, lines: 0, exports: 0 };
    sizes.set(room, {
      files: files + 1,
      lines: lines + text.split('\n').length - 1,
      exports: exports + exportedNames(path, text),
    });
  }
}
row('room', 'files', 'lines', 'exported names', 'per 1 000 lines');
for (const [room, { files, lines, exports }] of [...sizes].sort(([a], [b]) => a.localeCompare(b)))
  row(room, ...[files, lines, exports].map(String), ((exports / lines) * 1000).toFixed(1));

function checkout(): [string, string][] {
  return globSync('src/**/*.ts', { cwd: ROOT }).map((path) => [path, readFileSync(join(ROOT, path), 'utf8')]);
}

function committed(name: string): [string, string][] {
  return git('ls-tree', '-r', '--name-only', name, 'src')
    .split('\n')
    .filter((path) => path.endsWith('.ts'))
    .map((path) => [path, git('show', `${name}:${path}`)]);
}

function git(...args: string[]): string {
  return execFileSync('git', args, { cwd: ROOT, encoding: 'utf8', maxBuffer: 2 ** 26 });
}

/** The room of ARCHITECTURE.md, such as `src/domain` or `src/adapters/http`. */
function roomOf(path: string): string {
  return path.split('/', path.startsWith('src/adapters/') ? 3 : 2).join('/');
}

function exportedNames(path: string, text: string): number {
  return ts.createSourceFile(path, text, ts.ScriptTarget.Latest).statements.reduce((sum, statement) => {
    if (ts.isExportDeclaration(statement))
      return (
        sum +
        (statement.exportClause && ts.isNamedExports(statement.exportClause)
          ? statement.exportClause.elements.length
          : 1)
      );
    const isExported =
      ts.canHaveModifiers(statement) &&
      ts.getModifiers(statement)?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword) === true;
    if (!isExported) return sum;
    return sum + (ts.isVariableStatement(statement) ? statement.declarationList.declarations.length : 1);
  }, 0);
}

function row(room: string, ...figures: string[]): void {
  process.stdout.write(`${room.padEnd(28)}${figures.map((figure) => figure.padStart(16)).join('')}\n`);
}
