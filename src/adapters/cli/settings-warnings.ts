/** Warnings for settings that are valid, but seldom intended. */
import { X509Certificate } from 'node:crypto';
import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { mistakeOf } from '../../domain/credential.ts';
import { registryKey } from '../../domain/reference.ts';
import { isFallback, type Upstream } from '../../domain/upstream.ts';
import type { BlobDirectory } from '../blobs/blob-directory.ts';
import { formatBytes, formatError } from './format.ts';
import { commentWarnings } from './settings-file.ts';
import { listBlobs } from './verify.ts';

interface CheckedRegistry {
  readonly upstream: Upstream;
  readonly isDefault: boolean;
  readonly files?: { readonly secrets: readonly string[] } | undefined;
}

/** The settings that can cause a warning. */
interface CheckedSettings {
  readonly server: { readonly tls: { readonly certificate: string } };
  readonly store: { readonly enabled: boolean; readonly directory: string; readonly maxSize: number };
  readonly registry: {
    readonly gateway: string;
    readonly signature: { readonly mode: string; readonly keys: string; readonly roots: string };
    readonly mirrors: readonly { readonly of: string; readonly host: string }[];
    readonly bucket: { readonly endpoint: URL | undefined; readonly write: boolean };
  };
  readonly credentials: { readonly source: string; readonly registries: readonly CheckedRegistry[] };
}

/** Facts about the settings that they do not contain. */
interface SettingsPlace {
  /** The file of the settings, if there is one. */
  readonly file: string | undefined;
  /** The settings as they are written. */
  readonly written: Readonly<Record<string, unknown>>;
  /** Whether the service listens only on the loopback of its host. */
  readonly isLoopback: boolean;
  readonly cache: BlobDirectory;
}

/** A mirror or a bucket. */
interface Checked {
  check(signal: AbortSignal): Promise<unknown>;
}

/** A source that takes longer than this does not help a client. */
const SOURCE_MS = 10_000;
/** Smaller than a package. */
const MIN_CACHE_BYTES = 1024 * 1024;
/** The bit of a file's mode that lets all users read it. */
const READABLE = 0o004;

/** Returns the directory or, if it does not exist, its nearest existing parent. */
function nearestDirectory(directory: string): string {
  let nearest = resolve(directory);
  while (!existsSync(nearest) && dirname(nearest) !== nearest) nearest = dirname(nearest);
  return nearest;
}

/** @throws Error if the store cannot be in the directory, or if `judge` refuses an existing one */
export function checkStoreDirectory(directory: string, judge: () => void): void {
  const nearest = nearestDirectory(directory);
  const where = nearest === directory ? directory : `${directory} cannot be made: ${nearest}`;
  if (!statSync(nearest).isDirectory()) throw new Error(`store.directory: ${where} is no directory`);
  try {
    if (nearest === directory) judge();
  } catch (cause) {
    throw new Error(`store.directory: ${formatError(cause)}`, { cause });
  }
  try {
    accessSync(nearest, constants.W_OK | constants.X_OK);
  } catch (cause) {
    throw new Error(`store.directory: ${where} cannot be written`, { cause });
  }
}

/** Resolves with the sentences of the failed checks. */
export async function errorsOf(checks: readonly (() => unknown)[]): Promise<string[]> {
  const errors: string[] = [];
  for (const check of checks) {
    try {
      await check();
    } catch (error) {
      errors.push(error instanceof Error ? error.message : 'unknown error');
    }
  }
  return errors;
}

/** Each sentence begins with its setting. */
export async function warningsOf(settings: CheckedSettings, place: SettingsPlace): Promise<string[]> {
  return [
    ...variableWarnings(place.written),
    ...serverWarnings(settings, place),
    ...(await storeWarnings(settings, place)),
    ...signatureWarnings(settings),
    ...credentialWarnings(settings),
    ...expiredCertificates(settings),
    ...(place.file === undefined ? [] : commentWarnings(place.file)),
    ...mirrorWarnings(settings),
    ...fileWarnings(settings, place),
  ];
}

function serverWarnings({ server: { tls } }: CheckedSettings, { isLoopback }: SettingsPlace): string[] {
  if (isLoopback || tls.certificate !== '') return [];
  return ['server.listenAddress: other machines may reach it without authentication'];
}

async function storeWarnings(
  { store: { enabled, directory, maxSize } }: CheckedSettings,
  { cache }: SettingsPlace,
): Promise<string[]> {
  if (!enabled) return [];
  if (maxSize < MIN_CACHE_BYTES) {
    return [
      `store.maxSize: ${formatBytes(maxSize)} is smaller than most packages; a unit such as Mi or Gi may be missing`,
    ];
  }
  const { bavail, bsize } = await statfs(nearestDirectory(directory));
  const { blobs } = existsSync(cache.path) ? await listBlobs(cache) : { blobs: [] };
  const cached = blobs.reduce((sum, { stats }) => sum + stats.size, 0);
  const room = bavail * bsize + cached;
  if (maxSize <= room) return [];
  return [`store.maxSize: ${formatBytes(maxSize)} is more than the volume has for it, which is ${formatBytes(room)}`];
}

function signatureWarnings({ registry: { gateway, signature } }: CheckedSettings): string[] {
  const { mode, keys, roots } = signature;
  if (mode === 'off' && (keys !== '' || roots !== '')) {
    return ['registry.signature.mode: is off, so no signature is verified'];
  }
  if (mode === 'off' || gateway !== 'oci-layout' || keys === '') return [];
  return ['registry.signature.keys: an OCI image layout holds no signature of cosign'];
}

function credentialWarnings({ credentials: { source, registries } }: CheckedSettings): string[] {
  if (source !== 'static') return [];
  const inClear = registries.flatMap(({ upstream: { registry } }, index) => {
    if (registry.scheme === 'https' || registry.credential.kind === 'anonymous') return [];
    return [`credentials.registries.${String(index)}.scheme: the password goes to ${registry.host} unencrypted`];
  });
  const warnings = [...inClear, ...flawedCredentials(registries)];
  if (registries.length === 0)
    return ['credentials.registries: without any, every request is for an unknown repository'];
  if (registries.some(({ isDefault }) => isDefault)) return warnings;
  return [...warnings, 'credentials.registries: none is the default, so every request must name its repository'];
}

function flawedCredentials(registries: readonly CheckedRegistry[]): string[] {
  return registries.flatMap(({ upstream: { registry } }, index) => {
    const setting = `credentials.registries.${String(index)}`;
    if (isFallback(registry))
      return [`${setting}.dockerCfg: has no entry for ${registry.host}, so access to it is anonymous`];
    const mistake = mistakeOf(registry.credential);
    return mistake === undefined ? [] : [`${setting}: ${mistake}`];
  });
}

/** TLS fails as with a certificate of the server that has expired, so the message of the service cannot tell which it is. */
function expiredCertificates({ credentials: { registries } }: CheckedSettings): string[] {
  return registries.flatMap(({ upstream: { registry } }, index) => {
    const ends = registry.ca.map((pem) => new X509Certificate(pem).validToDate).filter((end) => end < new Date());
    const [first] = ends.sort((a, b) => Number(a) - Number(b));
    if (first === undefined) return [];
    const share = `${String(ends.length)} of ${String(registry.ca.length)}`;
    const date = first.toISOString().slice(0, 10);
    return [`credentials.registries.${String(index)}.ca: ${share} certificates have expired, the first on ${date}`];
  });
}

/** A mirror of a host in another spelling is never asked, and no request fails because of it. */
function mirrorWarnings({ registry: { mirrors }, credentials: { source, registries } }: CheckedSettings): string[] {
  if (source !== 'static') return [];
  return mirrors.flatMap(({ of }, index) => {
    const covers = ({ upstream: { registry } }: CheckedRegistry): boolean =>
      of === '*' || registryKey(of, registry.scheme) === registryKey(registry.host, registry.scheme);
    if (registries.some(covers)) return [];
    return [
      `registry.mirrors.${String(index)}.of: no registry of credentials.registries is at ${of}, so this mirror is never asked`,
    ];
  });
}

function fileWarnings({ credentials: { registries } }: CheckedSettings, { file }: SettingsPlace): string[] {
  const secret = registries.filter(({ upstream }) => upstream.registry.credential.kind !== 'anonymous');
  const inSettings = secret.filter(({ files }) => (files?.secrets ?? []).length === 0);
  const named = secret.flatMap(({ files }) => files?.secrets ?? []);
  const holders = [...(file === undefined || inSettings.length === 0 ? [] : [file]), ...named];
  return holders
    .filter((holder) => (statSync(holder, { throwIfNoEntry: false })?.mode ?? 0) & READABLE)
    .map((holder) => `${holder}: holds a password, and all users of this machine can read it`);
}

/**
 * A shell or Compose would replace such a text, and this program does not. The text is not shown, because a password may
 * contain it.
 */
export function variableWarnings(written: unknown, path: readonly string[] = []): string[] {
  if (typeof written === 'string') {
    if (!/\$\{\w[^}]*\}/.test(written)) return [];
    return [`${path.join('.')}: holds "\${…}", which stays as it is: no variable is replaced in settings`];
  }
  if (typeof written !== 'object' || written === null) return [];
  return Object.entries(written).flatMap(([name, below]) => variableWarnings(below, [...path, name]));
}

/** The service starts without its mirrors and its bucket, so their failures are warnings. */
export async function sourceWarnings(
  { gateway, mirrors, bucket }: CheckedSettings['registry'],
  store: { readonly enabled: boolean },
  sources: { readonly mirrors: readonly Checked[]; readonly bucket: Checked },
): Promise<string[]> {
  const checkMirrors = sources.mirrors.map((mirror, index) =>
    troubleOf(mirror, `registry.mirrors.${String(index)}: ${String(mirrors[index]?.host)}`),
  );
  const warnings = (await Promise.all(checkMirrors)).flat();
  if (bucket.endpoint === undefined) return warnings;
  const isUnwritten = bucket.write && gateway === 'oci' && !store.enabled;
  if (isUnwritten) warnings.push('registry.bucket.write: nothing is written while store.enabled is false');
  return [...warnings, ...(await troubleOf(sources.bucket, 'registry.bucket:'))];
}

async function troubleOf(source: Checked, name: string): Promise<string[]> {
  try {
    await source.check(AbortSignal.timeout(SOURCE_MS));
    return [];
  } catch (error) {
    return [`${name} cannot be used: ${formatError(error)}`];
  }
}
