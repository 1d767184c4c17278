/** Reads a page of the documents as a program: its blocks of commands, its files and outputs, and its annotations. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export const ROOT = join(import.meta.dirname, '../../..');

/** The comment before a block states how to run it; a block without one runs to its end, and must succeed. */
export type Execution =
  | { readonly how: 'succeeds' | 'fails' }
  | { readonly how: 'stays'; readonly until: string }
  | { readonly how: 'skipped'; readonly reason: string };

export interface Block {
  /** The line of its first fence, from 1. */
  readonly line: number;
  /** The section of the block. */
  readonly section: string;
  readonly text: string;
  readonly execution: Execution;
  /** The `text` block directly after it, with the expected output. */
  readonly output?: string;
}

export interface Page {
  /** Relative to the root of the project. */
  readonly path: string;
  readonly commands: readonly Block[];
  /** Blocks that begin with a comment with a file name; the files exist before the first command. */
  readonly files: ReadonlyMap<string, string>;
  /** Programs that the page needs in addition to those of a Debian with Node. */
  readonly needs: readonly string[];
  /** Invalid comments, with their lines. */
  readonly faults: readonly string[];
}

interface Fence {
  readonly line: number;
  readonly end: number;
  readonly language: string;
  readonly text: string;
  /** The last line before it that is not empty. */
  readonly before: string;
}

const COMMANDS = 'sh';
const OUTPUT = 'text';
/** Languages of blocks that are not run. */
const SHOWN = [OUTPUT, 'yaml', 'toml', 'json', 'ts', 'promql', 'http'];
const NEEDS = /^<!-- executed with: (.+) -->$/m;

/** Every page that git tracks or that `git add` would add. */
export function readPages(): Page[] {
  const list = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '*.md'], { cwd: ROOT, encoding: 'utf8' });
  return [...new Set(list.trim().split('\n'))].map((path) => parsePage(path, readFileSync(join(ROOT, path), 'utf8')));
}

export function parsePage(path: string, markdown: string): Page {
  const lines = markdown.split('\n');
  const fences = fencesOf(lines);
  const faults: string[] = [];
  const blocks = fences
    .filter(({ language }) => language === COMMANDS)
    .map(({ line, end, text: commands, before }): Block => {
      const execution = parseExecution(before);
      if (execution === undefined) faults.push(`${path}:${String(line)}: ${before}`);
      const section = lines.slice(0, line).findLast((text) => text.startsWith('## ')) ?? '';
      const next = fences.find((fence) => fence.line > end && lines.slice(end, fence.line - 1).join('') === '');
      return {
        line,
        section: section.slice(3),
        text: commands,
        execution: execution ?? { how: 'succeeds' },
        ...(next?.language === OUTPUT && { output: next.text }),
      };
    });
  for (const { line, language } of fences) {
    if (language !== COMMANDS && !SHOWN.includes(language)) faults.push(`${path}:${String(line)}: \`\`\`${language}`);
  }
  const files = fences.flatMap(({ text }) => {
    const [, name] = /^# ([\w-]+\.\w+)$/m.exec(text.split('\n', 1)[0] ?? '') ?? [];
    return name === undefined ? [] : [[name, text] as const];
  });
  return { path, commands: blocks, files: new Map(files), needs: NEEDS.exec(markdown)?.[1]?.split(', ') ?? [], faults };
}

/** Undefined for an annotation that is not valid. */
function parseExecution(before: string): Execution | undefined {
  if (!/^<!-- (not )?executed\b/.test(before) || NEEDS.test(before)) return { how: 'succeeds' };
  if (before === '<!-- executed: fails -->') return { how: 'fails' };
  const [, until] = /^<!-- executed: stays, and says "(.+)" -->$/.exec(before) ?? [];
  if (until !== undefined) return { how: 'stays', until };
  const [, reason] = /^<!-- not executed: (.{10,}) -->$/.exec(before) ?? [];
  return reason === undefined ? undefined : { how: 'skipped', reason };
}

/** CommonMark, section 4.5, in the forms that prettier writes; a fence in a list is indented. */
function fencesOf(lines: readonly string[]): Fence[] {
  const fences: Fence[] = [];
  for (let start = 0; start < lines.length; start++) {
    const [, indentation = '', language] = /^( *)```(\w*)$/.exec(lines[start] ?? '') ?? [];
    if (language === undefined) continue;
    const end = lines.indexOf(`${indentation}\`\`\``, start + 1);
    const text = lines.slice(start + 1, end).map((line) => line.slice(indentation.length));
    const before = lines.slice(0, start).findLast((line) => line !== '') ?? '';
    fences.push({ line: start + 1, end: end + 1, language, text: text.join('\n'), before: before.trim() });
    start = end;
  }
  return fences;
}
