/** Every command, in the order of the help; its file is loaded when it is asked for, so that it costs the service nothing. */
import type { Row } from '../../adapters/cli/command.ts';

export const COMMANDS: readonly Row[] = [
  {
    name: 'serve',
    summary: 'serve packages by digest, from a local cache or out of a registry (the default)',
    load: async () => (await import('./serve.ts')).SERVE,
  },
  {
    name: 'check-config',
    summary: 'say what is wrong with settings, and what looks wrong',
    load: async () => (await import('./check-config.ts')).CHECK_CONFIG,
  },
  {
    name: 'verify',
    summary: 'prove every blob of a cache or a mirror again',
    load: async () => (await import('./verify.ts')).VERIFY,
  },
  {
    name: 'explain',
    summary: 'say what would become of a request for a package, and why',
    load: async () => (await import('../../adapters/cli/explain.ts')).EXPLAIN,
  },
  {
    name: 'mirror',
    summary: 'bring packages into a directory, for a site without a registry',
    load: async () => (await import('./mirror.ts')).MIRROR,
  },
  {
    name: 'prefetch',
    summary: 'bring packages into a cache before the first request',
    load: async () => (await import('./prefetch.ts')).PREFETCH,
  },
  {
    name: 'loopback-keys',
    summary: 'make the keys by which the service and its sidecar know each other',
    load: async () => (await import('../../adapters/cli/loopback-keys.ts')).LOOPBACK_KEYS,
  },
  {
    name: 'completion',
    summary: 'print a script that completes commands and flags in a shell',
    load: async () => (await import('../../adapters/cli/completion.ts')).completionCommand(COMMANDS),
  },
];
