/** The list of registries in the settings file, parsed once. */
import * as z from 'zod';
import { basic } from '../../domain/credential.ts';
import { parseRepositoryName } from '../../domain/reference.ts';
import { InvalidUpstreamError, parseUpstream, type Upstream } from '../../domain/upstream.ts';
import type { NamedUpstream } from './static-credential-provider.ts';

const registry = z
  .strictObject({
    repo: z.string(),
    default: z.boolean().default(false),
    scheme: z.string().optional(),
    dockerCfg: z.string().optional(),
    username: z.string().min(1).optional(),
    password: z.string().optional(),
    ca: z.string().optional(),
  })
  .transform((fields, context): NamedUpstream => {
    const complain = (path: string, message: string): never => {
      context.issues.push({ code: 'custom', message, path: [path], input: undefined });
      return z.NEVER;
    };
    const { username, password, dockerCfg } = fields;
    if ((username === undefined) !== (password === undefined)) {
      return complain(username === undefined ? 'password' : 'username', 'username and password go together');
    }
    if (username !== undefined && dockerCfg !== undefined) return complain('dockerCfg', 'there is a username already');
    try {
      const upstream = withPassword(parseUpstream(fields), username, password);
      return { name: parseRepositoryName(fields.repo), isDefault: fields.default, upstream };
    } catch (error) {
      if (!(error instanceof InvalidUpstreamError)) throw error;
      return complain(error.field, error.message);
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

function withPassword(upstream: Upstream, username?: string, password?: string): Upstream {
  if (username === undefined || password === undefined) return upstream;
  return { ...upstream, registry: { ...upstream.registry, credential: basic(username, password) } };
}
