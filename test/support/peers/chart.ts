/** Renders the chart by Helm, and applies its objects to an API server one by one. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Got } from 'got';
import { parseAllDocuments } from 'yaml';
import { NAMESPACE } from './cluster.ts';

export const CHART = join(import.meta.dirname, '../../../charts/registry-packages-proxy');

export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
  };
}

/** API groups on which the output of the chart depends. */
const OPTIONAL_APIS = ['autoscaling.k8s.io/v1', 'deckhouse.io/v1alpha1', 'monitoring.coreos.com/v1'];

const PLURALS: Readonly<Record<string, string>> = {
  BackendTLSPolicy: 'backendtlspolicies',
  ClusterRole: 'clusterroles',
  ClusterRoleBinding: 'clusterrolebindings',
  ConfigMap: 'configmaps',
  CustomResourceDefinition: 'customresourcedefinitions',
  Deployment: 'deployments',
  GrafanaDashboardDefinition: 'grafanadashboarddefinitions',
  HTTPRoute: 'httproutes',
  Ingress: 'ingresses',
  ListenerSet: 'listenersets',
  Namespace: 'namespaces',
  NetworkPolicy: 'networkpolicies',
  PodDisruptionBudget: 'poddisruptionbudgets',
  PodMonitor: 'podmonitors',
  PrometheusRule: 'prometheusrules',
  Role: 'roles',
  RoleBinding: 'rolebindings',
  Secret: 'secrets',
  Service: 'services',
  ServiceAccount: 'serviceaccounts',
  VerticalPodAutoscaler: 'verticalpodautoscalers',
};

const run = promisify(execFile);

export async function renderChart(helm: string, ...args: readonly string[]): Promise<KubernetesObject[]> {
  const apis = OPTIONAL_APIS.flatMap((api) => ['--api-versions', api]);
  const { stdout } = await run(helm, [
    'template',
    'test',
    CHART,
    '--skip-tests',
    '--namespace',
    NAMESPACE,
    ...apis,
    ...args,
  ]);
  return parseObjects(stdout);
}

/** @throws YAMLParseError also for a key that stands there twice, of which Helm takes the last, and Kustomize none. */
export function parseObjects(yaml: string): KubernetesObject[] {
  const objects = parseAllDocuments(yaml).map((document) => {
    if (document.errors[0] !== undefined) throw document.errors[0];
    return document.toJS() as KubernetesObject | null;
  });
  return objects.filter((object) => object !== null);
}

interface Container {
  readonly name: string;
  readonly args: readonly string[];
  readonly env?: readonly { readonly name: string; readonly value?: string }[];
}

/** A container of the chart's Deployment. */
export function containerOf(objects: readonly KubernetesObject[], name: string): Container {
  const deployment = objects.find(({ kind }) => kind === 'Deployment') as
    { spec?: { template: { spec: { containers: Container[] } } } } | undefined;
  const container = deployment?.spec?.template.spec.containers.find((one) => one.name === name);
  if (container === undefined) throw new Error(`the chart has no container ${name}`);
  return container;
}

/** The settings that the chart writes for the service. */
export function settingsOf(objects: readonly KubernetesObject[]): string {
  const texts = objects.map((object) => (object as { data?: Record<string, string> }).data?.['settings.yaml']);
  return texts.find((text) => text !== undefined) ?? '';
}

/** Installs the definitions in a file of another project; resolves when the API server accepts their objects. */
export async function installDefinitions(client: Got, file: string): Promise<void> {
  await define(client, parseObjects(await readFile(file, 'utf8')));
}

/** The same for definitions in memory. */
export async function define(client: Got, definitions: readonly KubernetesObject[]): Promise<void> {
  for (const definition of definitions) await applyObject(client, definition);
  for (const { metadata } of definitions) {
    const established = async (): Promise<boolean> => {
      const { body } = await client<{ status?: { conditions?: { type: string; status: string }[] } }>(
        `apis/apiextensions.k8s.io/v1/customresourcedefinitions/${metadata.name}`,
      );
      return body.status?.conditions?.some(({ type, status }) => type === 'Established' && status === 'True') ?? false;
    };
    while (!(await established())) await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/**
 * Applies an object on the server; with `dryRun` the API server only checks it. Resolves with the warnings, and rejects
 * with the refusal of the API server.
 */
export async function applyObject(client: Got, object: KubernetesObject, dryRun = false): Promise<string> {
  const { apiVersion, kind, metadata } = object;
  const plural = PLURALS[kind];
  if (plural === undefined) throw new Error(`what is the plural of ${kind}?`);
  const group = apiVersion.includes('/') ? `apis/${apiVersion}` : `api/${apiVersion}`;
  const namespace = metadata.namespace === undefined ? '' : `namespaces/${metadata.namespace}/`;
  const response = await client.patch<{ message?: string }>(`${group}/${namespace}${plural}/${metadata.name}`, {
    searchParams: { fieldManager: 'test', force: 'true', fieldValidation: 'Strict', ...(dryRun && { dryRun: 'All' }) },
    headers: { 'content-type': 'application/apply-patch+yaml' },
    body: JSON.stringify(object),
    throwHttpErrors: false,
  });
  if (response.statusCode >= 300) {
    throw new Error(`${kind} ${metadata.name}: ${String(response.statusCode)} ${String(response.body.message)}`);
  }
  return response.headers.warning ?? '';
}

export function namespaceObject(name: string, labels: Readonly<Record<string, string>> = {}): KubernetesObject {
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } };
}
