/** One file of settings: its values, their places, and the files that it names. */
import { accessSync, constants, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { type Document, isMap, isScalar, isSeq, LineCounter, parseDocument, visit } from 'yaml';
import { errnoOf } from '../../domain/errors.ts';
import { SettingsError } from './command.ts';
import { codeOf } from './format.ts';

/** A part of the settings, with the place of each value. */
export interface Layer {
  readonly data: Record<string, unknown>;
  /** Returns the place of a setting of this layer, or undefined. */
  place(path: readonly PropertyKey[]): Place | undefined;
  /** Mistakes that do not prevent reading the settings. */
  readonly mistakes: readonly Mistake[];
}

interface Place {
  /** `my.yaml:3`, or the name of a flag. */
  readonly text: string;
  /** The order of the places in the layer. */
  readonly order: number;
}

export interface Mistake {
  readonly path: readonly PropertyKey[];
  readonly place: Place | undefined;
  readonly sentence: string;
}

/** The settings that are paths. */
const PATHS = [
  ...['directory', 'kubeconfig', 'certificate', 'key', 'clientCA', 'keys', 'roots', 'tokenFile'],
  ...['usernameFile', 'passwordFile', 'caFile', 'dockerCfgFile'],
];

/** Codes of the YAML library that occur in practice, mostly because of a password without quotes. */
const YAML_MISTAKES: Readonly<Record<string, string>> = {
  BAD_ALIAS: 'text that begins with "*" needs quotes',
  BAD_DQ_ESCAPE: 'a "\\" in double quotes escapes nothing; in single quotes it stands for itself',
  BAD_INDENT: 'the indentation differs from that of the other lines of the section',
  BAD_SCALAR_START: 'text that begins with "@", "`" or "%" needs quotes',
  BLOCK_AS_IMPLICIT_KEY: 'text that holds ": " needs quotes',
  MISSING_CHAR: 'a closing quote or bracket is missing, or the ":" after a name',
  MULTILINE_IMPLICIT_KEY: 'the ":" after a name is missing',
  MULTIPLE_DOCS: 'a second document begins; a file can have only one',
  TAB_AS_INDENT: 'a line is indented by a tab; YAML takes spaces',
  TAG_RESOLVE_FAILED: 'text that begins with "!" needs quotes',
  UNEXPECTED_TOKEN: 'text follows the end of a value; text with quotes or brackets in it needs quotes around it',
};

/** Paths in a file are relative to that file, independent of the working directory. @throws SettingsError */
export function readSettingsFile(file: string): Layer {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new SettingsError([`${file}: cannot be read (${errnoOf(error) ?? 'unknown error'})`]);
  }
  const lines = new LineCounter();
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    uniqueKeys: false,
    stringKeys: true,
  });
  const lineOf = (offset: number): number => lines.linePos(offset).line;
  const placeOf = (order: number): Place => ({ text: `${file}:${String(lineOf(order))}`, order });
  const mistake = (offset: number, sentence: string): Mistake => ({ path: [], place: placeOf(offset), sentence });
  // The library's excerpt of the file is omitted, because it may have a password.
  const [errors = [], warnings = []] = [document.errors, document.warnings].map((found) =>
    found.map(({ pos: [start], code }) => mistake(start, `not valid YAML: ${explained(code)}`)),
  );
  const aliases = openAliases(document).map((start) => mistake(start, `not valid YAML: ${explained('BAD_ALIAS')}`));
  const fatal = [...errors, ...aliases];
  if (fatal.length > 0) throw new SettingsError([...fatal, ...warnings].map(lineOfMistake));
  const repeated = repeatedNames(document.contents).map(({ path, offset, first }) => ({
    path,
    place: placeOf(offset),
    sentence: `is there already, in line ${String(lineOf(first))}; leave one of them`,
  }));
  return {
    data: dataOf(document, file),
    place: (path) => {
      const offset = offsetOf(document.contents, path);
      return offset === undefined ? undefined : placeOf(offset);
    },
    mistakes: [...warnings, ...repeated],
  };
}

function explained(code: string): string {
  const sentence = YAML_MISTAKES[code];
  return sentence === undefined ? code : `${sentence} (${code})`;
}

/** Returns `my.yaml:3: store.maxSize: must be …`. */
export function lineOfMistake({ place, path, sentence }: Mistake): string {
  return [place?.text, path.join('.'), sentence].filter((part) => part !== undefined && part !== '').join(': ');
}

function dataOf(document: Document, file: string): Record<string, unknown> {
  let data: unknown;
  try {
    data = absolute(document.toJS() ?? {}, dirname(resolve(file)));
  } catch {
    // The alias contains itself, or expands too much.
    throw new SettingsError([`${file}: has an alias that cannot be followed`]);
  }
  if (!isRecord(data)) throw new SettingsError([`${file}:1: must hold settings by name`]);
  return data;
}

/** Returns the offsets of aliases without an anchor. */
function openAliases(document: Document): number[] {
  const offsets: number[] = [];
  visit(document, {
    Alias: (_key, alias) => {
      if (alias.resolve(document) === undefined) offsets.push(alias.range?.[0] ?? 0);
    },
  });
  return offsets;
}

interface Repeated {
  readonly path: readonly PropertyKey[];
  readonly offset: number;
  readonly first: number;
}

/** Returns names that occur twice in a section. */
function repeatedNames(node: unknown, path: readonly PropertyKey[] = []): Repeated[] {
  if (isSeq(node)) return node.items.flatMap((item, index) => repeatedNames(item, [...path, index]));
  if (!isMap(node)) return [];
  const seen = new Map<unknown, number>();
  return node.items.flatMap(({ key, value }) => {
    if (!isScalar(key)) return [];
    const [below, offset] = [[...path, String(key.value)], key.range?.[0] ?? 0];
    const first = seen.get(key.value);
    seen.set(key.value, first ?? offset);
    return [...(first === undefined ? [] : [{ path: below, offset, first }]), ...repeatedNames(value, below)];
  });
}

/** Returns a warning for each account whose text may go on where YAML begins a comment. The text is not shown. */
export function commentWarnings(file: string): string[] {
  const text = readFileSync(file, 'utf8');
  const warnings = (node: unknown, path: readonly string[]): string[] => {
    if (isSeq(node)) return node.items.flatMap((item, index) => warnings(item, [...path, String(index)]));
    if (isMap(node))
      return node.items.flatMap(({ key, value }) => warnings(value, [...path, isScalar(key) ? String(key.value) : '']));
    const isAccount = ['username', 'password'].includes(path.at(-1) ?? '');
    if (!isAccount || !isScalar(node) || node.type !== 'PLAIN') return [];
    // A comment of a person has a space behind its sign.
    const isGlued = /^[ \t]+#\S/.test(text.slice(node.range?.[1]));
    return isGlued ? [`${path.join('.')}: ends before " #", a comment of YAML; text that holds " #" needs quotes`] : [];
  };
  return warnings(parseDocument(text, { uniqueKeys: false, stringKeys: true }).contents, []);
}

/** Returns the offset of a setting's name (or of a list item). */
function offsetOf(node: unknown, path: readonly PropertyKey[]): number | undefined {
  const [name, ...rest] = path;
  if (name === undefined) return undefined;
  if (isMap(node)) {
    const pair = node.items.find(({ key }) => isScalar(key) && key.value === name);
    if (pair === undefined || !isScalar(pair.key)) return undefined;
    return rest.length === 0 ? pair.key.range?.[0] : offsetOf(pair.value, rest);
  }
  if (typeof name !== 'number' || !isSeq(node)) return undefined;
  const item = node.items[name];
  return rest.length === 0 ? (item as { range?: [number, number, number] }).range?.[0] : offsetOf(item, rest);
}

function absolute(data: unknown, base: string): unknown {
  if (Array.isArray(data)) return data.map((item) => absolute(item, base));
  if (!isRecord(data)) return data;
  return Object.fromEntries(
    Object.entries(data).map(([name, value]) => {
      // The schema reports a PEM in the place of a path.
      const isPath =
        PATHS.includes(name) && typeof value === 'string' && value !== '' && !value.includes('-----BEGIN ');
      return [name, isPath ? resolve(base, value) : absolute(value, base)];
    }),
  );
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The settings that name files which a start reads; `*` stands for each item of a list. */
const READ_FILES = [
  ...['certificate', 'key', 'clientCA'].map((name) => ['server', 'tls', name]),
  ...['keys', 'roots'].map((name) => ['registry', 'signature', name]),
  ...['usernameFile', 'passwordFile', 'tokenFile'].map((name) => ['registry', 'mirrors', '*', name]),
  ['credentials', 'kubernetes', 'kubeconfig'],
];

/** Finds unreadable files before the first is used. The settings may have mistakes. Each sentence begins with its setting. */
export function unreadableFiles(written: unknown): string[] {
  const isRead = (setting: string): boolean =>
    !setting.startsWith('registry.signature.') || at(written, ['registry', 'signature', 'mode']) !== 'off';
  return READ_FILES.flatMap((path) => expanded(written, path)).flatMap((path) => {
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
