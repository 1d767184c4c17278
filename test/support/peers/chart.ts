/** The Helm chart: rendered by Helm, handed to an API server object by object. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Got } from 'got';
import { parseAllDocuments } from 'yaml';
import { NAMESPACE } from './cluster.ts';

export const CHART = join(import.meta.dirname, '../../../charts/registry-packages-proxy');

export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
}

/** Kinds that the chart knows to be there or not. */
const OPTIONAL_APIS = ['autoscaling.k8s.io/v1', 'monitoring.coreos.com/v1'];

const PLURALS: Readonly<Record<string, string>> = {
  ClusterRole: 'clusterroles',
  ClusterRoleBinding: 'clusterrolebindings',
  ConfigMap: 'configmaps',
  Deployment: 'deployments',
  Namespace: 'namespaces',
  PodDisruptionBudget: 'poddisruptionbudgets',
  PodMonitor: 'podmonitors',
  Role: 'roles',
  RoleBinding: 'rolebindings',
  Secret: 'secrets',
  ServiceAccount: 'serviceaccounts',
  VerticalPodAutoscaler: 'verticalpodautoscalers',
};

const run = promisify(execFile);

export async function renderChart(helm: string, ...args: readonly string[]): Promise<KubernetesObject[]> {
  const apis = OPTIONAL_APIS.flatMap((api) => ['--api-versions', api]);
  const { stdout } = await run(helm, ['template', 'test', CHART, '--namespace', NAMESPACE, ...apis, ...args]);
  const objects = parseAllDocuments(stdout).map((document) => document.toJS() as KubernetesObject | null);
  return objects.filter((object) => object !== null);
}

/** Server-side apply; with `dryRun` the API server only says whether it would. Rejects with what it has against it. */
export async function applyObject(client: Got, object: KubernetesObject, dryRun = false): Promise<void> {
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
}

export function namespaceObject(name: string): KubernetesObject {
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name } };
}
