/** Settings out of files and flags, laid one over the other; all mistakes at once, each with its place. */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { type Document, isMap, isScalar, LineCounter, parseDocument } from 'yaml';
import type { z } from 'zod';
import { errnoOf } from '../domain/errors.ts';
import { type SETTINGS_FLAGS, SettingsError, type Terminal, type Values } from '../adapters/cli/command.ts';
import { nearestSetting } from '../adapters/cli/setting-names.ts';
import { REGISTRY_FIELDS } from '../adapters/static/registries-schema.ts';
import { type Settings, settingsSchema } from './settings.ts';

type SettingsValues = Values<typeof SETTINGS_FLAGS>;

/** Which setting each flag stands for. */
const SETTING_OF_FLAG = {
  'listen-address': ['server', 'listenAddress'],
  'cache-directory': ['store', 'directory'],
  'cache-retention-size': ['store', 'maxSize'],
  'disable-cache': ['store', 'enabled'],
  kubeconfig: ['credentials', 'kubernetes', 'kubeconfig'],
  'log-level': ['log', 'level'],
} as const;

/** Part of the settings, and where each of them is written. */
interface Layer {
  readonly data: Record<string, unknown>;
  /** The place of a setting that this layer holds, or undefined. */
  place(path: readonly PropertyKey[]): string | undefined;
}

/** A flag wins over the file, and the file over the defaults. @throws SettingsError with every mistake at once */
export function readSettings(flags: SettingsValues, terminal: Pick<Terminal, 'defaultSettings'>): Settings {
  return mergeSettings(readLayers(flags, terminal));
}

/** The layers of the settings, each over the one before. @throws SettingsError for a file that cannot be read */
export function readLayers(flags: SettingsValues, { defaultSettings }: Pick<Terminal, 'defaultSettings'>): Layer[] {
  const files = [defaultSettings, ...(flags.config === undefined ? [] : [flags.config])];
  return [...files.map(readSettingsFile), layerOf(flags)];
}

function layerOf(values: SettingsValues): Layer {
  let data: Record<string, unknown> = {};
  const places = new Map<string, string>();
  for (const [flag, path] of Object.entries(SETTING_OF_FLAG)) {
    const value = values[flag as keyof typeof SETTING_OF_FLAG];
    if (value === undefined) continue;
    const setting: unknown = flag === 'disable-cache' ? value !== true : value;
    data = merge(data, path.reduceRight((below, name) => ({ [name]: below }), setting) as Record<string, unknown>);
    places.set(path.join('.'), `--${flag}`);
  }
  return { data, place: (path) => places.get(path.join('.')) };
}

/** Later layers win over earlier ones. @throws SettingsError */
export function mergeSettings(layers: readonly Layer[]): Settings {
  const result = settingsSchema.safeParse(layOver(layers));
  if (result.success) return result.data;
  throw new SettingsError(result.error.issues.flatMap((issue) => describeIssue(issue, layers)));
}

/** The same, as it is written. */
export function layOver(layers: readonly Layer[]): Record<string, unknown> {
  return layers.reduce<Record<string, unknown>>((merged, { data }) => merge(merged, data), {});
}

/** Settings that are paths. */
const PATHS = [
  ...['directory', 'kubeconfig', 'certificate', 'key', 'clientCA', 'keys', 'roots', 'tokenFile'],
  ...['usernameFile', 'passwordFile', 'caFile', 'dockerCfgFile'],
];

/** Paths in a file are relative to that file, wherever the process was started. @throws SettingsError */
export function readSettingsFile(path: string): Layer {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new SettingsError([`${path}: cannot be read (${errnoOf(error) ?? 'unknown error'})`]);
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true, stringKeys: true });
  const place = (offset: number): string => `${path}:${String(lines.linePos(offset).line)}`;
  if (document.errors.length > 0) {
    // Without the library's excerpt of the file, which may hold a password.
    throw new SettingsError(document.errors.map(({ pos, code }) => `${place(pos[0])}: not valid YAML (${code})`));
  }
  return {
    data: dataOf(document, path),
    place: (setting) => {
      const key = keyNode(document.contents, setting);
      return key === undefined ? undefined : place(key);
    },
  };
}

function dataOf(document: Document, path: string): Record<string, unknown> {
  let data: unknown;
  try {
    data = absolute(document.toJS() ?? {}, dirname(resolve(path)));
  } catch {
    // It has no anchor, holds itself, or grows beyond measure.
    throw new SettingsError([`${path}: has an alias that cannot be followed`]);
  }
  if (!isRecord(data)) throw new SettingsError([`${path}:1: must hold settings by name`]);
  return data;
}

function describeIssue(issue: z.core.$ZodIssue, layers: readonly Layer[]): string[] {
  const paths = issue.code === 'unrecognized_keys' ? issue.keys.map((key) => [...issue.path, key]) : [issue.path];
  return paths.map((path) => {
    const message =
      issue.code === 'unrecognized_keys'
        ? `is not a setting${nearestSetting(path, layers, REGISTRY_FIELDS)}`
        : issue.message;
    return [placeOf(path, layers), path.join('.'), message]
      .filter((part) => part !== undefined && part !== '')
      .join(': ');
  });
}

/** Where the setting is written or, when it is missing, what it should be a part of. */
function placeOf(path: readonly PropertyKey[], layers: readonly Layer[]): string | undefined {
  for (let length = path.length; length > 0; length--) {
    for (const layer of layers.toReversed()) {
      const place = layer.place(path.slice(0, length));
      if (place !== undefined) return place;
    }
  }
  return undefined;
}

/** The offset at which a setting's name (or a list's item) begins. */
function keyNode(node: unknown, path: readonly PropertyKey[]): number | undefined {
  const [name, ...rest] = path;
  if (name === undefined) return undefined;
  if (isMap(node)) {
    const pair = node.items.find(({ key }) => isScalar(key) && key.value === name);
    if (pair === undefined || !isScalar(pair.key)) return undefined;
    return rest.length === 0 ? pair.key.range?.[0] : keyNode(pair.value, rest);
  }
  if (typeof name !== 'number' || typeof node !== 'object' || node === null || !('items' in node)) return undefined;
  const item = (node.items as { range?: [number, number, number] }[])[name];
  return rest.length === 0 ? item?.range?.[0] : keyNode(item, rest);
}

/** One over the other; a name without a value leaves what is below it as it is. */
function merge(base: Record<string, unknown>, over: Record<string, unknown>): Record<string, unknown> {
  // Not an object, in which a field named __proto__ would be more than a field.
  const merged = new Map(Object.entries(base));
  for (const [name, value] of Object.entries(over)) {
    const below = merged.get(name);
    if (value !== null && value !== undefined)
      merged.set(name, isRecord(below) && isRecord(value) ? merge(below, value) : value);
  }
  return Object.fromEntries(merged);
}

function absolute(data: unknown, base: string): unknown {
  if (Array.isArray(data)) return data.map((item) => absolute(item, base));
  if (!isRecord(data)) return data;
  return Object.fromEntries(
    Object.entries(data).map(([name, value]) => {
      // PEM is no path, which the schema says.
      const isPath =
        PATHS.includes(name) && typeof value === 'string' && value !== '' && !value.includes('-----BEGIN ');
      return [name, isPath ? resolve(base, value) : absolute(value, base)];
    }),
  );
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
