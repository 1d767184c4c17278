/** The command line: the flags of the existing implementation, and a settings file. */
import { parseArgs } from 'node:util';
import { type Layer, merge } from './load-settings.ts';

export class UsageError extends Error {
  override readonly name = 'UsageError';
}

export type Command =
  | { readonly kind: 'help' }
  | { readonly kind: 'version' }
  | {
      readonly kind: 'serve';
      /** A settings file. */
      readonly config: string | undefined;
      /** What flags say, to be laid over it. */
      readonly flags: Layer;
    };

/** Which setting each flag stands for. */
const SETTING_OF_FLAG = {
  'listen-address': ['server', 'listenAddress'],
  'cache-directory': ['store', 'directory'],
  'cache-retention-size': ['store', 'maxSize'],
  'disable-cache': ['store', 'enabled'],
  kubeconfig: ['credentials', 'kubernetes', 'kubeconfig'],
  'log-level': ['log', 'level'],
} as const;

/** A flag without a value may have one there. */
const AS_GO_WRITES_IT: ReadonlyMap<string, string> = new Map([
  ['--disable-cache=true', '--disable-cache'],
  ['--disable-cache=false', '--no-disable-cache'],
]);

export const HELP = `Usage: registry-packages-proxy [flags]

Serves packages, published as OCI images, by digest, from a local cache or out of a registry.

  --config FILE                 settings; config/default.yaml documents all of them
  --listen-address HOST:PORT    where to listen (:PORT for all interfaces)
  --cache-directory DIRECTORY   where to keep packages
  --cache-retention-size SIZE   how much to keep: 1Gi, 500M, ...
  --disable-cache               keep nothing
  --kubeconfig FILE             how to reach the cluster from outside, with credentials.source: kubernetes
  --log-level LEVEL             trace, debug, info, warn, error or fatal
  --help, --version

A flag wins over the file, and the last of two flags over the first.

Examples:
  # the tiny mirror of this repository
  registry-packages-proxy --config config/demo.yaml
  # a registry of your own, on another port, with a small cache
  registry-packages-proxy --config my.yaml --listen-address 127.0.0.1:5090 --cache-retention-size 200Mi

Exit status: 0 after a stop by signal, 1 for wrong flags or settings and for a start that fails.
`;

/** @throws UsageError */
export function parseCommandLine(args: readonly string[]): Command {
  const values = parse(args);
  if (values.help === true) return { kind: 'help' };
  if (values.version === true) return { kind: 'version' };
  return { kind: 'serve', config: values.config, flags: layerOf(values) };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: args.map((arg) => AS_GO_WRITES_IT.get(arg) ?? arg),
      allowNegative: true,
      options: {
        config: { type: 'string' },
        'listen-address': { type: 'string' },
        'cache-directory': { type: 'string' },
        'cache-retention-size': { type: 'string' },
        'disable-cache': { type: 'boolean' },
        'log-level': { type: 'string' },
        kubeconfig: { type: 'string' },
        help: { type: 'boolean' },
        version: { type: 'boolean' },
      },
    }).values;
  } catch (cause) {
    throw new UsageError(cause instanceof Error ? cause.message : 'unknown flag', { cause });
  }
}

function layerOf(values: Readonly<Record<string, string | boolean | undefined>>): Layer {
  let data: Record<string, unknown> = {};
  const places = new Map<string, string>();
  for (const [flag, path] of Object.entries(SETTING_OF_FLAG)) {
    const value = values[flag];
    if (value === undefined) continue;
    const setting: unknown = flag === 'disable-cache' ? value !== true : value;
    data = merge(data, path.reduceRight((below, name) => ({ [name]: below }), setting) as Record<string, unknown>);
    places.set(path.join('.'), `--${flag}`);
  }
  return { data, place: (path) => places.get(path.join('.')) };
}
