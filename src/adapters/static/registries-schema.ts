/** The list of registries in the settings file, parsed once; the files that it names are read again when they change. */
import { readFileSync, statSync } from 'node:fs';
import * as z from 'zod';
import { basic } from '../../domain/credential.ts';
import { digestOf } from '../../domain/descriptor.ts';
import { errnoOf } from '../../domain/errors.ts';
import { parseRepositoryName } from '../../domain/reference.ts';
import { InvalidUpstreamError, parseUpstream, type Upstream, type UpstreamFields } from '../../domain/upstream.ts';
import type { FollowedFiles, NamedUpstream } from './static-credential-provider.ts';

const registryFields = z.strictObject({
  repo: z.string(),
  default: z.boolean().default(false),
  scheme: z.string().optional(),
  dockerCfg: z.string().optional(),
  dockerCfgFile: z.string().min(1).optional(),
  username: z.string().min(1).optional(),
  password: z.string().optional(),
  passwordFile: z.string().min(1).optional(),
  ca: z.string().optional(),
  caFile: z.string().min(1).optional(),
});

export const REGISTRY_FIELDS = Object.keys(registryFields.shape);

type Fields = z.output<typeof registryFields>;

/** Fields that name a file with the value of another field: a password, a docker config, certificates. */
const FILE_FIELDS = { passwordFile: 'password', caFile: 'ca', dockerCfgFile: 'dockerCfg' } as const;

type FileField = keyof typeof FILE_FIELDS;
type ValueField = (typeof FILE_FIELDS)[FileField];

const FILES = Object.entries(FILE_FIELDS) as [FileField, ValueField][];

/** Passwords have some bytes, docker configs and bundles of certificates some hundred kilobytes. */
const MAX_BYTES = 1024 * 1024;

const registry = registryFields
  .superRefine(
    (fields, context) => {
      for (const [field, message] of [...pairMistakes(fields), ...fieldMistakes(fields)])
        context.addIssue({ code: 'custom', path: [field], message });
    },
    // The check runs even if other fields have mistakes.
    { when: ({ value }) => isRecord(value) },
  )
  .transform((fields, context): NamedUpstream => {
    try {
      const { upstream, content } = readUpstream(fields);
      const named = { name: parseRepositoryName(fields.repo), isDefault: fields.default, upstream };
      const given = fileFields(fields);
      return given.length === 0 ? named : { ...named, files: followed(fields, given, content) };
    } catch (error) {
      // The file has changed since its check.
      if (!(error instanceof InvalidUpstreamError || error instanceof RegistryFileError)) throw error;
      const path = [fieldOf(error, fields)];
      context.issues.push({ code: 'custom', path, message: reasonOf(error), input: undefined });
      return z.NEVER;
    }
  });

export const registriesSchema = z.array(registry).superRefine(
  (list, context) => {
    const all = list.map((item: unknown) => asNamed(isRecord(item) ? item : {}));
    all.forEach(({ name, isDefault }, index) => {
      if (name !== undefined && all.findIndex((other) => other.name === name) !== index)
        context.addIssue({ code: 'custom', path: [index, 'repo'], message: 'is listed twice' });
      if (isDefault && all.findIndex((other) => other.isDefault) !== index)
        context.addIssue({ code: 'custom', path: [index, 'default'], message: 'only one registry can be the default' });
    });
  },
  { when: ({ value }) => Array.isArray(value) },
);

/** Fields that may have a wrong type, which the schema reports. */
type Unknown = Readonly<Record<keyof Fields, unknown>>;
type Complaint = readonly [field: keyof Fields, message: string];

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Returns the canonical name, or the written one if it has a mistake. */
function asNamed({ name, repo, isDefault, default: isMarked }: Readonly<Record<string, unknown>>) {
  const isRepo = typeof repo === 'string' && mistakeIn(() => parseUpstream({ repo })) === undefined;
  return { name: isRepo ? parseRepositoryName(repo) : name, isDefault: (isDefault ?? isMarked) === true };
}

function* pairMistakes(fields: Partial<Unknown>): Generator<Complaint> {
  const { username, password, passwordFile, dockerCfg, dockerCfgFile } = fields;
  for (const [file, field] of FILES) {
    if (fields[file] !== undefined && fields[field] !== undefined) yield [file, `there is a ${field} already`];
  }
  const hasPassword = password !== undefined || passwordFile !== undefined;
  if ((username === undefined) === hasPassword) {
    const given = passwordFile === undefined ? 'password' : 'passwordFile';
    yield [username === undefined ? given : 'username', 'username and password go together'];
  }
  if (username !== undefined && (dockerCfg ?? dockerCfgFile) !== undefined)
    yield [dockerCfg === undefined ? 'dockerCfgFile' : 'dockerCfg', 'there is a username already'];
}

/** Each field is parsed separately, so that a mistake does not hide the others. */
function* fieldMistakes(fields: Partial<Unknown>): Generator<Complaint> {
  const text = (field: keyof Fields): string | undefined => {
    const value = fields[field];
    return typeof value === 'string' && value !== '' ? value : undefined;
  };
  let right: UpstreamFields = { repo: 'registry.invalid' };
  for (const field of ['repo', 'scheme', 'dockerCfg', 'ca'] as const) {
    const value = text(field);
    if (value === undefined) continue;
    const mistake = mistakenText(field, value) ?? mistakeIn(() => parseUpstream({ ...right, [field]: value }));
    if (mistake === undefined) right = { ...right, [field]: value };
    else yield [field, mistake];
  }
  for (const [file, field] of FILES) {
    const path = text(file);
    const mistake = path && mistakeIn(() => parseUpstream({ ...right, [field]: readFileField(file, path) }));
    if (mistake) yield [file, mistake];
  }
}

function mistakeIn(read: () => unknown): string | undefined {
  try {
    read();
    return undefined;
  } catch (error) {
    if (!(error instanceof InvalidUpstreamError || error instanceof RegistryFileError)) throw error;
    return reasonOf(error);
  }
}

function fileFields(fields: Fields): FileField[] {
  return FILES.map(([file]) => file).filter((file) => fields[file] !== undefined);
}

/** Detects a path in the place of a certificate or of a docker config, and a docker config that is not base64. */
function mistakenText(field: keyof UpstreamFields, text: string): string | undefined {
  if (field !== 'ca' && field !== 'dockerCfg') return undefined;
  const noun = field === 'ca' ? 'the certificate itself' : 'the docker config';
  // Base64 of JSON begins with "e".
  if (/^(?:[~.]{0,2}\/)\S+$|^[\w-]+\.(?:crt|pem|json)$/.test(text.trim())) {
    return `is a path, not ${noun}: ${field}File takes a path`;
  }
  return field === 'dockerCfg' && text.trimStart().startsWith('{')
    ? 'is the docker config without base64: dockerCfgFile takes a file of it'
    : undefined;
}

/** Includes a hash of the files' content. @throws InvalidUpstreamError, RegistryFileError */
function readUpstream(fields: Fields): { upstream: Upstream; content: string } {
  const read: Partial<Record<ValueField, string>> = {};
  for (const field of fileFields(fields)) read[FILE_FIELDS[field]] = readFileField(field, fields[field] ?? '');
  const whole = { ...fields, ...read };
  const upstream = withPassword(parseUpstream(whole), whole.username, whole.password);
  return { upstream, content: digestOf(Buffer.from(JSON.stringify(read))) };
}

function followed(fields: Fields, given: readonly FileField[], content: string): FollowedFiles {
  return {
    content,
    paths: given.map((field) => fields[field] ?? ''),
    secrets: given.filter((field) => field !== 'caFile').map((field) => fields[field] ?? ''),
    read: () => {
      try {
        return readUpstream(fields);
      } catch (error) {
        if (!(error instanceof InvalidUpstreamError || error instanceof RegistryFileError)) throw error;
        throw new Error(`${fieldOf(error, fields)}: ${reasonOf(error)}`, { cause: error });
      }
    },
  };
}

/** Returns the field in which the mistake is written. */
function fieldOf({ field }: InvalidUpstreamError | RegistryFileError, fields: Fields): string {
  return fileFields(fields).find((file) => FILE_FIELDS[file] === field) ?? field;
}

function reasonOf(error: InvalidUpstreamError | RegistryFileError): string {
  return error instanceof InvalidUpstreamError ? error.reason : error.message;
}

function withPassword(upstream: Upstream, username?: string, password?: string): Upstream {
  if (username === undefined || password === undefined) return upstream;
  return { ...upstream, registry: { ...upstream.registry, credential: basic(username, password) } };
}

/** A mistake in a file. The message never has its content. */
class RegistryFileError extends Error {
  override readonly name = 'RegistryFileError';
  readonly field: FileField;
  constructor(field: FileField, message: string, options?: ErrorOptions) {
    super(message, options);
    this.field = field;
  }
}

/** Returns the value that the field would have without a file. @throws RegistryFileError */
function readFileField(field: FileField, path: string): string {
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
