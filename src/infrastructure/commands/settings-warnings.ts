/** Warnings of settings that are allowed and seldom meant. */
import { existsSync, statSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { formatBytes } from '../../adapters/cli/format.ts';
import { Layout } from '../../adapters/filesystem/layout.ts';
import { isLoopback } from '../../adapters/http/server/http-server.ts';
import { isFallback } from '../../domain/upstream.ts';
import type { Settings } from '../settings.ts';
import { listBlobs } from './verify.ts';

/** Readable for all users, in the mode of a file. */
const READABLE = 0o004;

/** The directory itself or, while it does not exist, the nearest one above it that does. */
export function nearestDirectory(directory: string): string {
  let nearest = resolve(directory);
  while (!existsSync(nearest) && dirname(nearest) !== nearest) nearest = dirname(nearest);
  return nearest;
}

/**
 * Settings that are allowed and seldom meant; each sentence begins with the setting. `file` is where the settings come from,
 * when they come from one,
 * and `written` is what has been parsed.
 */
export async function warningsOf(
  settings: Settings,
  file: string | undefined,
  written: Readonly<Record<string, unknown>> = {},
): Promise<string[]> {
  return [
    ...variableWarnings(written),
    ...serverWarnings(settings),
    ...(await storeWarnings(settings)),
    ...signatureWarnings(settings),
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

function signatureWarnings({ registry: { gateway, signature } }: Settings): string[] {
  const { mode, keys, roots } = signature;
  if (mode === 'off' && (keys !== '' || roots !== '')) {
    return ['registry.signature.mode: is off, so no signature is verified'];
  }
  if (mode === 'off' || gateway !== 'oci-layout' || keys === '') return [];
  return ['registry.signature.keys: an OCI image layout holds no signature of cosign'];
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
  const secret = registries.filter(({ upstream }) => upstream.registry.credential.kind !== 'anonymous');
  const inSettings = secret.filter(({ files }) => (files?.secrets ?? []).length === 0);
  const named = secret.flatMap(({ files }) => files?.secrets ?? []);
  const holders = [...(file === undefined || inSettings.length === 0 ? [] : [file]), ...named];
  return holders
    .filter((holder) => (statSync(holder, { throwIfNoEntry: false })?.mode ?? 0) & READABLE)
    .map((holder) => `${holder}: holds a password, and everybody on this machine can read it`);
}

/** A shell or Compose would replace them, and nothing does here. A password may hold such a text, so none is shown. */
function variableWarnings(written: unknown, path: readonly string[] = []): string[] {
  if (typeof written === 'string') {
    if (!/\$\{\w[^}]*\}/.test(written)) return [];
    return [`${path.join('.')}: holds "\${…}", which stays as it is: no variable is replaced in settings`];
  }
  if (typeof written !== 'object' || written === null) return [];
  return Object.entries(written).flatMap(([name, below]) => variableWarnings(below, [...path, name]));
}
