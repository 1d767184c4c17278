/** Reads settings from files and flags and merges them; all mistakes are reported at once, each with its place. */
import type { z } from 'zod';
import { type SETTINGS_FLAGS, SettingsError, type Terminal, type Values } from '../adapters/cli/command.ts';
import { nearestSetting, sentenceOf } from '../adapters/cli/setting-mistakes.ts';
import {
  isRecord,
  type Layer,
  lineOfMistake,
  type Mistake,
  readSettingsFile,
  unreadableFiles,
} from '../adapters/cli/settings-file.ts';
import { MIRROR_FIELDS } from '../adapters/sources/mirrors-schema.ts';
import { REGISTRY_FIELDS } from '../adapters/static/registries-schema.ts';
import { type Settings, settingsSchema } from './settings.ts';

type SettingsValues = Values<typeof SETTINGS_FLAGS>;

/** The setting of each flag. */
const SETTING_OF_FLAG = {
  'listen-address': ['server', 'listenAddress'],
  'cache-directory': ['store', 'directory'],
  'cache-retention-size': ['store', 'maxSize'],
  'disable-cache': ['store', 'enabled'],
  kubeconfig: ['credentials', 'kubernetes', 'kubeconfig'],
  'log-level': ['log', 'level'],
} as const;

/** A flag overrides the file, and the file the defaults. @throws SettingsError with all mistakes at once */
export function readSettings(flags: SettingsValues, terminal: Pick<Terminal, 'defaultSettings'>): Settings {
  return mergeSettings(readLayers(flags, terminal));
}

/** For a start, which also fails for unreadable files. @throws SettingsError with all mistakes at once */
export function readServedSettings(flags: SettingsValues, terminal: Pick<Terminal, 'defaultSettings'>): Settings {
  const layers = readLayers(flags, terminal);
  const unreadable = unreadableFiles(layOver(layers));
  const { settings, mistakes } = parseLayers(layers);
  if (settings !== undefined && unreadable.length === 0) return settings;
  throw new SettingsError([...mistakes, ...unreadable]);
}

/** Returns the layers of the settings; each overrides the one before. @throws SettingsError for an unreadable file */
export function readLayers(flags: SettingsValues, { defaultSettings }: Pick<Terminal, 'defaultSettings'>): Layer[] {
  const files = [defaultSettings, ...(flags.config === undefined ? [] : [flags.config])].map(readSettingsFile);
  return [...files, layerOf(flags, layOver(files))];
}

/** A flag for a section that is another value in the file is omitted: the file has the mistake. */
function layerOf(values: SettingsValues, below: Record<string, unknown>): Layer {
  let data: Record<string, unknown> = {};
  const places = new Map<string, { readonly text: string; readonly order: number }>();
  for (const [order, [flag, path]] of Object.entries(SETTING_OF_FLAG).entries()) {
    const value = values[flag as keyof typeof SETTING_OF_FLAG];
    const section = path.slice(0, -1).reduce<unknown>((held, name) => (isRecord(held) ? held[name] : undefined), below);
    if (value === undefined || !isRecord(section)) continue;
    const setting: unknown = flag === 'disable-cache' ? value !== true : value;
    data = merge(data, path.reduceRight((inner, name) => ({ [name]: inner }), setting) as Record<string, unknown>);
    places.set(path.join('.'), { text: `--${flag}`, order });
  }
  return { data, place: (path) => places.get(path.join('.')), mistakes: [] };
}

/** Later layers override earlier ones. @throws SettingsError with all mistakes at once */
export function mergeSettings(layers: readonly Layer[]): Settings {
  const { settings, mistakes } = parseLayers(layers);
  if (settings === undefined) throw new SettingsError(mistakes);
  return settings;
}

interface Parsed {
  /** Undefined if there is a mistake. */
  readonly settings: Settings | undefined;
  /** In the order of the layers and of their lines. */
  readonly mistakes: readonly string[];
}

export function parseLayers(layers: readonly Layer[]): Parsed {
  const written = layOver(layers);
  const result = settingsSchema.safeParse(written, { error: sentenceOf });
  const known = layers.flatMap(({ mistakes }, layer) => mistakes.map((mistake) => ({ ...mistake, layer })));
  if (result.success && known.length === 0) return { settings: result.data, mistakes: [] };
  const issues = result.error?.issues.flatMap((issue) => mistakesOf(issue, layers, written)) ?? [];
  const mistakes = [...known, ...issues].sort(
    (a, b) => a.layer - b.layer || (a.place?.order ?? 0) - (b.place?.order ?? 0),
  );
  return { settings: undefined, mistakes: [...new Set(mistakes.map(lineOfMistake))] };
}

/** Returns the merged settings as they are written. */
export function layOver(layers: readonly Layer[]): Record<string, unknown> {
  return layers.reduce<Record<string, unknown>>((merged, { data }) => merge(merged, data), {});
}

type LayerMistake = Mistake & { readonly layer: number };

/** The fields of list items, of which the defaults have none. */
const LIST_FIELDS = {
  'credentials.registries': REGISTRY_FIELDS,
  'registry.mirrors': MIRROR_FIELDS,
  'server.certificates': ['role', 'certificate'],
};

function mistakesOf(issue: z.core.$ZodIssue, layers: readonly Layer[], written: unknown): LayerMistake[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => {
      const path = [...issue.path, key];
      return {
        path,
        sentence: `is not a setting${nearestSetting(path, layers, LIST_FIELDS)}`,
        ...placeOf(path, layers),
      };
    });
  }
  const { path, message } = issue;
  const value = path.reduce<unknown>(
    (held, name) => (held as Record<PropertyKey, unknown> | undefined)?.[name],
    written,
  );
  // A shell or Compose would replace it.
  const isVariable = typeof value === 'string' && /\$\{\w[^}]*\}/.test(value);
  const sentence = isVariable ? `${message}; "\${…}" stays as it is: no variable is replaced in settings` : message;
  return [{ path, sentence, ...placeOf(path, layers) }];
}

/** Returns the place of the setting or, if it is missing, of its section. */
function placeOf(path: readonly PropertyKey[], layers: readonly Layer[]): Pick<LayerMistake, 'layer' | 'place'> {
  for (let length = path.length; length > 0; length--) {
    for (const [layer, held] of [...layers.entries()].reverse()) {
      const found = held.place(path.slice(0, length));
      if (found !== undefined) return { layer, place: found };
    }
  }
  return { layer: layers.length, place: undefined };
}

/** Merges two layers; a name without a value keeps the value below it. */
function merge(base: Record<string, unknown>, over: Record<string, unknown>): Record<string, unknown> {
  // The result is a Map, because a field named __proto__ would change an object.
  const merged = new Map(Object.entries(base));
  for (const [name, value] of Object.entries(over)) {
    const below = merged.get(name);
    if (value !== null && value !== undefined)
      merged.set(name, isRecord(below) && isRecord(value) ? merge(below, value) : value);
  }
  return Object.fromEntries(merged);
}
