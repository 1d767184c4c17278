/** All commands in the order of the help. The file of a command is loaded only when it runs, so the service does not load it. */
import type { Row } from '../../adapters/cli/command.ts';

export const COMMANDS: readonly Row[] = [
  {
    name: 'serve',
    summary: 'serve packages by digest, from a local cache or a registry (the default)',
    load: async () => (await import('./serve.ts')).SERVE,
  },
  {
    name: 'check-config',
    summary: 'report mistakes in settings, and warn of unusual ones',
    load: async () => (await import('./check-config.ts')).CHECK_CONFIG,
  },
  {
    name: 'verify',
    summary: 'compare every blob of a cache or a mirror with its digest',
    load: async () => (await import('./verify.ts')).VERIFY,
  },
  {
    name: 'explain',
    summary: 'show the outcome of a request for a package, and the reason',
    load: async () => (await import('../../adapters/cli/explain.ts')).EXPLAIN,
  },
  {
    name: 'top',
    summary: 'show the activity of a running service, continuously',
    load: async () => (await import('../../adapters/cli/top.ts')).TOP,
  },
  {
    name: 'mirror',
    summary: 'fetch packages into a directory, for a site without a registry',
    load: async () => (await import('./mirror.ts')).MIRROR,
  },
  {
    name: 'prefetch',
    summary: 'fetch packages into a cache before the first request',
    load: async () => (await import('./prefetch.ts')).PREFETCH,
  },
  {
    name: 'loopback-keys',
    summary: 'make the keys and certificates for the loopback port',
    load: async () => (await import('../../adapters/cli/loopback-keys.ts')).LOOPBACK_KEYS,
  },
  {
    name: 'version',
    summary: 'print the version, the commit, Node and the platform',
    load: async () => (await import('../../adapters/cli/version.ts')).VERSION,
  },
  {
    name: 'completion',
    summary: 'print a script that completes commands and flags in a shell',
    load: async () => (await import('../../adapters/cli/completion.ts')).completionCommand(COMMANDS),
  },
];
