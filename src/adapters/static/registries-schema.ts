/** The list of registries in the settings file, parsed once; files that it names are read again when they change. */
import * as z from 'zod';
import { basic } from '../../domain/credential.ts';
import { digestOf } from '../../domain/descriptor.ts';
import { parseRepositoryName } from '../../domain/reference.ts';
import { InvalidUpstreamError, parseUpstream, type Upstream } from '../../domain/upstream.ts';
import { FILE_FIELDS, type FileField, readFileField, RegistryFileError, type ValueField } from './registry-files.ts';
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

const registry = registryFields.transform((fields, context): NamedUpstream => {
  const complain = (path: string, message: string): never => {
    context.issues.push({ code: 'custom', message, path: [path], input: undefined });
    return z.NEVER;
  };
  const { username, dockerCfg, dockerCfgFile } = fields;
  const given = fileFields(fields);
  for (const field of given) {
    if (fields[FILE_FIELDS[field]] !== undefined) return complain(field, `there is a ${FILE_FIELDS[field]} already`);
  }
  const hasPassword = (fields.password ?? fields.passwordFile) !== undefined;
  if ((username === undefined) === hasPassword) {
    const path = fields.passwordFile === undefined ? 'password' : 'passwordFile';
    return complain(username === undefined ? path : 'username', 'username and password go together');
  }
  const config = dockerCfg === undefined ? 'dockerCfgFile' : 'dockerCfg';
  if (username !== undefined && (dockerCfg ?? dockerCfgFile) !== undefined) {
    return complain(config, 'there is a username already');
  }
  for (const field of ['ca', 'dockerCfg'] as const) {
    const mistaken = mistakenText(field, fields[field]);
    if (mistaken !== undefined) return complain(field, mistaken);
  }
  try {
    const { upstream, content } = readUpstream(fields);
    const named = { name: parseRepositoryName(fields.repo), isDefault: fields.default, upstream };
    return given.length === 0 ? named : { ...named, files: followed(fields, given, content) };
  } catch (error) {
    if (!(error instanceof InvalidUpstreamError || error instanceof RegistryFileError)) throw error;
    return complain(fieldOf(error, fields), reasonOf(error));
  }
});

export const registriesSchema = z.array(registry).superRefine((list, context) => {
  const names = new Set<string>();
  list.forEach(({ name, isDefault }, index) => {
    if (names.has(name)) context.addIssue({ code: 'custom', path: [index, 'repo'], message: 'is listed twice' });
    names.add(name);
    if (isDefault && list.findIndex((other) => other.isDefault) !== index) {
      context.addIssue({ code: 'custom', path: [index, 'default'], message: 'only one registry can be the default' });
    }
  });
});

function fileFields(fields: Fields): FileField[] {
  return (Object.keys(FILE_FIELDS) as FileField[]).filter((field) => fields[field] !== undefined);
}

/** A path in the place of a certificate or of a docker config, or a docker config that is not in base64. */
function mistakenText(field: 'ca' | 'dockerCfg', text = ''): string | undefined {
  const noun = field === 'ca' ? 'the certificate itself' : 'the docker config';
  // Base64 of JSON begins with "e".
  if (/^(?:[~.]{0,2}\/)\S+$|^[\w-]+\.(?:crt|pem|json)$/.test(text.trim())) {
    return `is a path, not ${noun}: ${field}File takes a path`;
  }
  return field === 'dockerCfg' && text.trimStart().startsWith('{')
    ? 'is the docker config without base64: dockerCfgFile takes a file of it'
    : undefined;
}

/** With a mark of what the files hold. @throws InvalidUpstreamError, RegistryFileError */
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

/** The field that the mistake is written in. */
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
