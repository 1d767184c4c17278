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
const schema = {
  openAPIV3Schema: { type: 'object', properties: { spec: { type: 'object', properties: { registry } } } },
};

/** Resolves when objects of the kind can be made. */
export async function defineModuleSource(client: Got): Promise<void> {
  await client.post('apis/apiextensions.k8s.io/v1/customresourcedefinitions', {
    json: {
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata: { name: `${PLURAL}.${GROUP}` },
      spec: {
        group: GROUP,
        scope: 'Cluster',
        names: { plural: PLURAL, singular: 'modulesource', kind: 'ModuleSource', listKind: 'ModuleSourceList' },
        versions: [{ name: 'v1alpha1', served: true, storage: true, schema }],
      },
    },
  });
  while ((await client(PATH, { throwHttpErrors: false })).statusCode !== 200) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
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
