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
    summary: 'report mistakes in settings, and warn of what is seldom meant',
    load: async () => (await import('./check-config.ts')).CHECK_CONFIG,
  },
  {
    name: 'verify',
    summary: 'hash every blob of a cache or a mirror again',
    load: async () => (await import('./verify.ts')).VERIFY,
  },
  {
    name: 'explain',
    summary: 'show the outcome that a request for a package would have, and the reason',
    load: async () => (await import('../../adapters/cli/explain.ts')).EXPLAIN,
  },
  {
    name: 'top',
    summary: 'show what a running service does, until it is ended',
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
    summary: 'make the keys with which the service and its sidecar identify each other',
    load: async () => (await import('../../adapters/cli/loopback-keys.ts')).LOOPBACK_KEYS,
  },
  {
    name: 'version',
    summary: 'print the version, the commit, and what it runs on',
    load: async () => (await import('../../adapters/cli/version.ts')).VERSION,
  },
  {
    name: 'completion',
    summary: 'print a script that completes commands and flags in a shell',
    load: async () => (await import('../../adapters/cli/completion.ts')).completionCommand(COMMANDS),
  },
];
