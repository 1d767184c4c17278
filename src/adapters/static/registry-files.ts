/** Files that contain values of a registry's settings: a password, a docker config, certificates. */
import { readFileSync, statSync } from 'node:fs';
import { errnoOf } from '../../domain/errors.ts';

/** The field whose value is in the file. */
export const FILE_FIELDS = { passwordFile: 'password', caFile: 'ca', dockerCfgFile: 'dockerCfg' } as const;

export type FileField = keyof typeof FILE_FIELDS;
export type ValueField = (typeof FILE_FIELDS)[FileField];

/** Passwords have some bytes, docker configs and bundles of certificates some hundred kilobytes. */
const MAX_BYTES = 1024 * 1024;

/** The message names the mistake in the file, and never its content. */
export class RegistryFileError extends Error {
  override readonly name = 'RegistryFileError';
  readonly field: FileField;
  constructor(field: FileField, message: string, options?: ErrorOptions) {
    super(message, options);
    this.field = field;
  }
}

/** Returns the value that the field would have without a file. @throws RegistryFileError */
export function readFileField(field: FileField, path: string): string {
  if (path.includes('-----BEGIN ')) {
    throw new RegistryFileError(field, `is the certificate itself, not a path: ${FILE_FIELDS[field]} takes it`);
  }
  const text = read(field, path);
  if (text.trim() === '') throw new RegistryFileError(field, 'the file is empty');
  switch (field) {
    case 'passwordFile':
      // Editors and `echo` add a line feed at the end of a file.
      return text.replace(/\r?\n$/, '');
    case 'dockerCfgFile':
      return text.trimStart().startsWith('{') ? Buffer.from(text).toString('base64') : text;
    case 'caFile':
      return text;
  }
}

function read(field: FileField, path: string): string {
  try {
    const found = statSync(path);
    // A pipe has no end, so it is refused.
    if (!found.isFile() || found.size > MAX_BYTES) throw new RegistryFileError(field, 'is not a file of at most 1 MiB');
    return readFileSync(path, 'utf8');
  } catch (cause) {
    if (cause instanceof RegistryFileError) throw cause;
    throw new RegistryFileError(field, `the file cannot be read (${errnoOf(cause) ?? 'unknown error'})`, { cause });
  }
}
