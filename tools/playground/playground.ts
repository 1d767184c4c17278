/** A registry and a cluster of three masters with the chart, all real programs that run as processes of this machine. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Got } from 'got';
import { applyObject, CHART, namespaceObject } from '../../test/support/peers/chart.ts';
import { Cluster, NAMESPACE } from '../../test/support/peers/cluster.ts';
import { Kubelets } from '../../test/support/peers/kubelets.ts';
import { defineModuleSource } from '../../test/support/peers/module-source.ts';
import { PeerRegistry } from '../../test/support/peers/peer-registry.ts';

export const PROGRAMS = [
  'docker-registry',
  'crane',
  'etcd',
  'kube-apiserver',
  'kube-controller-manager',
  'kube-scheduler',
  'kube-rbac-proxy',
  'kubectl',
  'helm',
] as const;
export type Programs = Readonly<Record<(typeof PROGRAMS)[number], string>>;

const RELEASE = 'registry-packages-proxy';
const REPOSITORY = 'deckhouse/ee';
const MIRROR = join(import.meta.dirname, '../../examples/mirror');
const ROLLOUT = '180s';

const run = promisify(execFile);

export class Playground {
  readonly #programs: Programs;
  readonly #say: (text: string) => void;
  /** The functions that end the parts, called in reverse order. */
  readonly #closers: (() => Promise<void>)[] = [];
  #cluster: Cluster | undefined;

  constructor(programs: Programs, say: (text: string) => void) {
    this.#programs = programs;
    this.#say = say;
  }

  /** Starts the parts until the signal aborts. The caller closes the started parts, also after an error. */
  async start(signal: AbortSignal): Promise<void> {
    const next = (what: string): void => {
      signal.throwIfAborted();
      this.#say(what);
    };
    next('registry: Docker distribution with the packages of examples/mirror');
    const registry = await this.#startRegistry();
    next('cluster: etcd, kube-apiserver, kube-controller-manager, kube-scheduler');
    const admin = await this.#startCluster();
    next('three masters: master-0, master-1, master-2');
    await this.#startMasters(admin, registry);
    next('chart: helm install, then the pods with service and kube-rbac-proxy');
    await this.#install(signal);
  }

  /** The path of the kubeconfig of an administrator. */
  async kubeconfig(): Promise<string> {
    if (this.#cluster === undefined) throw new Error('the cluster has not started');
    return this.#cluster.kubeconfig('admin');
  }

  /** Returns the CA of the HTTPS port and the token of nodes. */
  async access(): Promise<{ ca: string; token: string }> {
    const read = async (...args: readonly string[]): Promise<string> =>
      (await this.#kubectl('-n', NAMESPACE, 'get', ...args)).stdout;
    return {
      ca: await read('configmap', `${RELEASE}-ca`, '-o', 'go-template={{index .data "ca.crt"}}'),
      token: await read('secret', `${RELEASE}-token`, '-o', 'go-template={{.data.token|base64decode}}'),
    };
  }

  async close(): Promise<void> {
    for (const close of this.#closers.toReversed()) await close();
  }

  async #startRegistry(): Promise<PeerRegistry> {
    const registry = await PeerRegistry.start({ program: 'docker-registry', path: this.#programs['docker-registry'] });
    this.#closers.push(() => registry.close());
    await run(this.#programs.crane, ['push', '--index', MIRROR, `${registry.repo}:examples`]);
    return registry;
  }

  async #startCluster(): Promise<Got> {
    const cluster = await Cluster.start(this.#programs);
    this.#cluster = cluster;
    this.#closers.push(() => cluster.close());
    await cluster.startControllers(this.#programs['kube-controller-manager'], ['node-lifecycle', 'taint-eviction']);
    await cluster.startScheduler(this.#programs['kube-scheduler']);
    return cluster.as('admin');
  }

  async #startMasters(admin: Got, registry: PeerRegistry): Promise<void> {
    if (this.#cluster === undefined) throw new Error('the cluster has not started');
    await defineModuleSource(admin);
    for (const name of [NAMESPACE, 'd8-system']) await applyObject(admin, namespaceObject(name));
    const secret = {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'deckhouse-registry', namespace: 'd8-system' },
      type: 'kubernetes.io/dockerconfigjson',
      stringData: {
        '.dockerconfigjson': '{"auths":{}}',
        address: registry.host,
        path: `/${REPOSITORY}`,
        scheme: 'http',
      },
    };
    await applyObject(admin, secret);
    const kubelets = new Kubelets(this.#cluster, this.#programs['kube-rbac-proxy']);
    await kubelets.start();
    this.#closers.push(() => kubelets.end());
  }

  async #install(signal: AbortSignal): Promise<void> {
    const values = ['highAvailability=true', 'image.repository=registry.example.com/registry-packages-proxy'];
    const environment = { ...process.env, KUBECONFIG: await this.kubeconfig() };
    await run(
      this.#programs.helm,
      ['install', RELEASE, CHART, '--namespace', NAMESPACE, ...values.flatMap((value) => ['--set', value])],
      { env: environment, signal },
    );
    await this.#kubectl('-n', NAMESPACE, 'rollout', 'status', `deployment/${RELEASE}`, '--timeout', ROLLOUT);
  }

  async #kubectl(...args: readonly string[]): Promise<{ stdout: string }> {
    return run(this.#programs.kubectl, args, { env: { ...process.env, KUBECONFIG: await this.kubeconfig() } });
  }
}
