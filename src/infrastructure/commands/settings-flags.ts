/** The flags of the existing implementation, for every command that needs settings. */
import { type Layer, merge, mergeSettings, readSettingsFile } from '../load-settings.ts';
import type { Settings } from '../settings.ts';
import type { Terminal } from '../../adapters/cli/command.ts';
import type { Values } from '../../adapters/cli/flags.ts';

export const SETTINGS_FLAGS = {
  config: { type: 'string', value: 'FILE', about: 'settings; config/default.yaml documents all of them' },
  'listen-address': { type: 'string', value: 'HOST:PORT', about: 'where to listen (:PORT for all interfaces)' },
  'cache-directory': { type: 'string', value: 'DIRECTORY', about: 'where to keep packages' },
  'cache-retention-size': { type: 'string', value: 'SIZE', about: 'how much to keep: 1Gi, 500M, ...' },
  'disable-cache': { type: 'boolean', about: 'keep nothing' },
  kubeconfig: {
    type: 'string',
    value: 'FILE',
    about: 'how to reach the cluster from outside, with credentials.source: kubernetes',
  },
  'log-level': { type: 'string', value: 'LEVEL', about: 'trace, debug, info, warn, error or fatal' },
} as const;

export type SettingsValues = Values<typeof SETTINGS_FLAGS>;

/** Which setting each flag stands for. */
const SETTING_OF_FLAG = {
  'listen-address': ['server', 'listenAddress'],
  'cache-directory': ['store', 'directory'],
  'cache-retention-size': ['store', 'maxSize'],
  'disable-cache': ['store', 'enabled'],
  kubeconfig: ['credentials', 'kubernetes', 'kubeconfig'],
  'log-level': ['log', 'level'],
} as const;

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
