/** The kind of dashboards for Deckhouse's Grafana, as Deckhouse defines it. */
import type { KubernetesObject } from './chart.ts';

const GROUP = 'deckhouse.io';
const PLURAL = 'grafanadashboarddefinitions';

export const API = `${GROUP}/v1/GrafanaDashboardDefinition`;

const spec = {
  type: 'object',
  required: ['folder', 'definition'],
  properties: {
    folder: { type: 'string' },
    definition: { type: 'string', pattern: '^[ \\t\\n]*\\{(.|\\n)*\\}[ \\t\\n]*$' },
  },
};
const schema = { openAPIV3Schema: { type: 'object', required: ['spec'], properties: { spec } } };

export const GRAFANA_DASHBOARD_DEFINITION: KubernetesObject & { readonly spec: object } = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: `${PLURAL}.${GROUP}` },
  spec: {
    group: GROUP,
    scope: 'Cluster',
    names: {
      plural: PLURAL,
      singular: 'grafanadashboarddefinition',
      kind: 'GrafanaDashboardDefinition',
      listKind: 'GrafanaDashboardDefinitionList',
    },
    versions: [{ name: 'v1', served: true, storage: true, schema }],
  },
};
