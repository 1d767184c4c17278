/** The ModuleSource kind as Deckhouse defines it, as far as this service reads it, and how tests make objects of it. */
import type { Got } from 'got';

const GROUP = 'deckhouse.io';
const PLURAL = 'modulesources';
const PATH = `apis/${GROUP}/v1alpha1/${PLURAL}`;

const text = { type: 'string' };
const registry = {
  type: 'object',
  required: ['repo'],
  properties: { repo: text, scheme: text, dockerCfg: text, ca: text },
};

/** Resolves when objects of the kind can be made. */
export async function defineModuleSource(client: Got): Promise<void> {
  const schema = { type: 'object', properties: { spec: { type: 'object', properties: { registry } } } };
  await defineKind(client, { group: GROUP, version: 'v1alpha1', kind: 'ModuleSource', scope: 'Cluster', schema });
  while ((await client(PATH, { throwHttpErrors: false })).statusCode !== 200) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export interface KindDefinition {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly scope?: 'Cluster' | 'Namespaced';
  /** Anything goes when absent. */
  readonly schema?: object;
}

export async function defineKind(client: Got, definition: KindDefinition): Promise<void> {
  const { group, version, kind, scope = 'Namespaced' } = definition;
  const schema = definition.schema ?? { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
  const plural = `${kind.toLowerCase()}s`;
  const metadata = {
    name: `${plural}.${group}`,
    annotations: group.endsWith('k8s.io') ? { 'api-approved.kubernetes.io': 'unapproved, for a test' } : {},
  };
  const names = { plural, singular: kind.toLowerCase(), kind, listKind: `${kind}List` };
  const versions = [{ name: version, served: true, storage: true, schema: { openAPIV3Schema: schema } }];
  await client.post('apis/apiextensions.k8s.io/v1/customresourcedefinitions', {
    json: {
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata,
      spec: { group, scope, names, versions },
    },
  });
}

/** Makes it, or changes its registry. */
export async function putModuleSource(
  client: Got,
  name: string,
  spec: Readonly<Record<string, string>>,
): Promise<void> {
  await client.patch(`${PATH}/${name}`, {
    searchParams: { fieldManager: 'test', force: 'true' },
    headers: { 'content-type': 'application/apply-patch+yaml' },
    body: JSON.stringify({
      apiVersion: `${GROUP}/v1alpha1`,
      kind: 'ModuleSource',
      metadata: { name },
      spec: { registry: spec },
    }),
  });
}

export async function deleteModuleSource(client: Got, name: string): Promise<void> {
  await client.delete(`${PATH}/${name}`);
}
