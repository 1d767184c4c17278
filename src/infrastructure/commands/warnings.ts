/** Warnings of settings that are allowed and seldom meant; each sentence begins with the setting. */
import { existsSync, statSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { isFallback } from '../../domain/upstream.ts';
import { Layout } from '../../adapters/filesystem/layout.ts';
import { isLoopback, type Settings } from '../settings.ts';
import { formatBytes } from '../../adapters/cli/format-amount.ts';
import { listBlobs } from './blob-folder.ts';
import { nearestDirectory } from './startup-errors.ts';

/** For everybody, in the mode of a file. */
const READABLE = 0o004;

/** `file` is where the settings come from, when they come from one. */
export async function warningsOf(settings: Settings, file: string | undefined): Promise<string[]> {
  return [
    ...serverWarnings(settings),
    ...(await storeWarnings(settings)),
    ...credentialWarnings(settings),
    ...fileWarnings(settings, file),
  ];
}

function serverWarnings({ server: { listenAddress, tls } }: Settings): string[] {
  if (isLoopback(listenAddress) || tls.certificate !== '') return [];
  return ['server.listenAddress: other machines may reach it without authentication'];
}

async function storeWarnings({ store: { enabled, directory, maxSize } }: Settings): Promise<string[]> {
  if (!enabled) return [];
  const { bavail, bsize } = await statfs(nearestDirectory(directory));
  const { blobs } = new Layout(directory);
  const kept = existsSync(blobs.path)
    ? (await listBlobs(blobs)).blobs.reduce((sum, { stats }) => sum + stats.size, 0)
    : 0;
  const room = bavail * bsize + kept;
  if (maxSize <= room) return [];
  return [`store.maxSize: ${formatBytes(maxSize)} are more than the volume has for it, which is ${formatBytes(room)}`];
}

function credentialWarnings({ credentials: { source, registries } }: Settings): string[] {
  if (source !== 'static') return [];
  const inClear = registries.flatMap(({ upstream: { registry } }, index) => {
    if (registry.scheme === 'https' || registry.credential.kind === 'anonymous') return [];
    return [`credentials.registries.${String(index)}.scheme: the password goes to ${registry.host} unencrypted`];
  });
  const warnings = [...inClear, ...anonymousByMistake(registries)];
  if (registries.length === 0)
    return ['credentials.registries: without any, every request is for an unknown repository'];
  if (registries.some(({ isDefault }) => isDefault)) return warnings;
  return [...warnings, 'credentials.registries: none is the default, so every request must name its repository'];
}

function anonymousByMistake(registries: Settings['credentials']['registries']): string[] {
  return registries.flatMap(({ upstream: { registry } }, index) => {
    if (!isFallback(registry)) return [];
    return [
      `credentials.registries.${String(index)}.dockerCfg: has no entry for ${registry.host}, which is entered anonymously`,
    ];
  });
}

function fileWarnings({ credentials: { registries } }: Settings, file: string | undefined): string[] {
  const hasSecret = registries.some(({ upstream }) => upstream.registry.credential.kind !== 'anonymous');
  if (file === undefined || !hasSecret || (statSync(file).mode & READABLE) === 0) return [];
  return [`${file}: holds a password, and everybody on this machine can read it`];
}
