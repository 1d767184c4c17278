/** ModuleSources and PackageRepositories as Deckhouse defines them, with the fields that this service reads, and objects of both kinds. */
import type { Got } from 'got';

const GROUP = 'deckhouse.io';

type Kind = 'ModuleSource' | 'PackageRepository';

const PLURALS: Readonly<Record<Kind, string>> = {
  ModuleSource: 'modulesources',
  PackageRepository: 'packagerepositories',
};

const text = { type: 'string' };
const registry = {
  type: 'object',
  required: ['repo'],
  properties: { repo: text, scheme: text, dockerCfg: text, ca: text },
};
const schema = {
  openAPIV3Schema: { type: 'object', properties: { spec: { type: 'object', properties: { registry } } } },
};

const pathOf = (kind: Kind): string => `apis/${GROUP}/v1alpha1/${PLURALS[kind]}`;

/** Resolves when the API server accepts objects of the kind. */
export function defineModuleSource(client: Got): Promise<void> {
  return define(client, 'ModuleSource');
}

export function definePackageRepository(client: Got): Promise<void> {
  return define(client, 'PackageRepository');
}

/** Creates a ModuleSource, or changes its registry. */
export function putModuleSource(client: Got, name: string, spec: Readonly<Record<string, string>>): Promise<void> {
  return put(client, 'ModuleSource', name, spec);
}

export function putPackageRepository(client: Got, name: string, spec: Readonly<Record<string, string>>): Promise<void> {
  return put(client, 'PackageRepository', name, spec);
}

export async function deleteModuleSource(client: Got, name: string): Promise<void> {
  await client.delete(`${pathOf('ModuleSource')}/${name}`);
}

export async function deletePackageRepository(client: Got, name: string): Promise<void> {
  await client.delete(`${pathOf('PackageRepository')}/${name}`);
}

async function define(client: Got, kind: Kind): Promise<void> {
  const plural = PLURALS[kind];
  await client.post('apis/apiextensions.k8s.io/v1/customresourcedefinitions', {
    json: {
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata: { name: `${plural}.${GROUP}` },
      spec: {
        group: GROUP,
        scope: 'Cluster',
        names: { plural, singular: kind.toLowerCase(), kind, listKind: `${kind}List` },
        versions: [{ name: 'v1alpha1', served: true, storage: true, schema }],
      },
    },
  });
  while ((await client(pathOf(kind), { throwHttpErrors: false })).statusCode !== 200) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function put(client: Got, kind: Kind, name: string, spec: Readonly<Record<string, string>>): Promise<void> {
  await client.patch(`${pathOf(kind)}/${name}`, {
    searchParams: { fieldManager: 'test', force: 'true' },
    headers: { 'content-type': 'application/apply-patch+yaml' },
    body: JSON.stringify({
      apiVersion: `${GROUP}/v1alpha1`,
      kind,
      metadata: { name },
      spec: { registry: spec },
    }),
  });
}
