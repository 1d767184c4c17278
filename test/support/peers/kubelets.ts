/** Does the work of the kubelets of three masters: registers nodes, runs the pods that the scheduler binds to them as processes of this machine, reports status. */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:https';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Got } from 'got';
import { serverCertificate } from '../tls/certificates.ts';
import type { Cluster } from './cluster.ts';
import { PeerProcess } from './process.ts';

/** Nodes by name, each with an address of loopback of its own. */
export const MASTERS: Readonly<Record<string, string>> = {
  'master-0': '127.0.0.1',
  'master-1': '127.0.0.2',
  'master-2': '127.0.0.3',
};

const run = promisify(execFile);

/** The port at which the API server connects to kubelets. */
const KUBELET_PORT = 10250;
const MAIN = join(import.meta.dirname, '../../../src/infrastructure/main.ts');
const LOOK_EVERY_MS = 100;
const REPORT_EVERY_MS = 10_000;
const CAPACITY = { cpu: '4', memory: '8Gi', pods: '110', 'ephemeral-storage': '50Gi' };

interface Container {
  readonly name: string;
  readonly image: string;
  readonly args: readonly string[];
  readonly env?: readonly {
    readonly name: string;
    readonly valueFrom?: { readonly fieldRef?: { readonly fieldPath: string } };
  }[];
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string }[];
}

interface Pod {
  readonly metadata: { readonly name: string; readonly namespace: string; readonly deletionTimestamp?: string };
  readonly spec: {
    readonly nodeName?: string;
    readonly serviceAccountName: string;
    readonly initContainers?: readonly Container[];
    readonly containers: readonly Container[];
    readonly volumes: readonly {
      readonly name: string;
      readonly configMap?: { readonly name: string };
      readonly secret?: { readonly secretName: string };
    }[];
  };
}

export class Kubelets {
  readonly #cluster: Cluster;
  readonly #client: Got;
  readonly #kubeRbacProxy: string;
  readonly #running = new Map<
    string,
    { readonly home: string; readonly containers: ReadonlyMap<string, PeerProcess> }
  >();
  readonly #logs: Server;
  #hasEnded = false;
  #nextReport = 0;
  #looking = Promise.resolve();

  constructor(cluster: Cluster, kubeRbacProxy: string) {
    this.#cluster = cluster;
    this.#client = cluster.as('admin');
    this.#kubeRbacProxy = kubeRbacProxy;
    this.#logs = createServer(serverCertificate('localhost'), ({ url = '' }, response) => {
      const [, , , pod = '', container = ''] = new URL(url, 'https://kubelet').pathname.split('/');
      response.end(this.#running.get(pod)?.containers.get(container)?.output);
    });
  }

  async start(): Promise<void> {
    for (const [name, address] of Object.entries(MASTERS)) {
      const labels = { 'node-role.kubernetes.io/control-plane': '', 'kubernetes.io/hostname': name };
      const status = {
        addresses: [{ type: 'InternalIP', address }],
        daemonEndpoints: { kubeletEndpoint: { Port: KUBELET_PORT } },
        capacity: CAPACITY,
        allocatable: CAPACITY,
        conditions: readyNow(),
      };
      await this.#client.post('api/v1/nodes', {
        json: { apiVersion: 'v1', kind: 'Node', metadata: { name, labels }, status },
      });
    }
    await new Promise<void>((resolve) => this.#logs.listen(KUBELET_PORT, resolve));
    this.#looking = this.#keepLooking();
  }

  async end(): Promise<void> {
    this.#hasEnded = true;
    await this.#looking;
    this.#logs.closeAllConnections();
    await new Promise((resolve) => this.#logs.close(resolve));
    for (const pod of this.#running.keys()) await this.#stop(pod);
  }

  async #keepLooking(): Promise<void> {
    while (!this.#hasEnded) {
      await this.#look();
      if (performance.now() >= this.#nextReport) await this.#reportNodes();
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    }
  }

  /** Without a report for 50 s the controller of nodes counts a master as unreachable. */
  async #reportNodes(): Promise<void> {
    this.#nextReport = performance.now() + REPORT_EVERY_MS;
    for (const name of Object.keys(MASTERS)) {
      await this.#client.patch(`api/v1/nodes/${name}/status`, {
        headers: { 'content-type': 'application/strategic-merge-patch+json' },
        body: JSON.stringify({ status: { conditions: readyNow() } }),
      });
    }
  }

  async #look(): Promise<void> {
    const { body } = await this.#client<{ items: Pod[] }>('api/v1/pods');
    for (const pod of body.items) {
      if (pod.metadata.deletionTimestamp !== undefined) await this.#remove(pod);
      else if (pod.spec.nodeName !== undefined && !this.#running.has(pod.metadata.name)) {
        await this.#run(pod, MASTERS[pod.spec.nodeName] ?? '');
      }
    }
  }

  async #run(pod: Pod, address: string): Promise<void> {
    const { name, namespace } = pod.metadata;
    const home = await mkdtemp(join(tmpdir(), 'pod-'));
    const kubeconfig = `--kubeconfig=${await this.#kubeconfig(pod)}`;
    await this.#mount(pod, home, address);
    // Each init container runs the image of the service.
    for (const { args, volumeMounts = [] } of pod.spec.initContainers ?? []) {
      await run(process.execPath, [MAIN, ...args.map((arg) => place(arg, volumeMounts, home, address))]);
    }
    const started = pod.spec.containers.map(({ name: container, args, env = [], volumeMounts = [] }) => {
      const placed = [...args.map((arg) => place(arg, volumeMounts, home, address)), kubeconfig];
      const program: [string, string[]] =
        container === 'proxy' ? [process.execPath, [MAIN, ...placed]] : [this.#kubeRbacProxy, placed];
      return [container, new PeerProcess(...program, downwardApi(env, pod))] as const;
    });
    this.#running.set(name, { home, containers: new Map(started) });
    for (const [container, running] of started) {
      await running.ready(() => listens(address, container === 'proxy' ? 5080 : 4219));
    }
    const conditions = ['PodScheduled', 'Initialized', 'ContainersReady', 'Ready'].map((type) => ({
      type,
      status: 'True',
      lastTransitionTime: new Date().toISOString(),
    }));
    const containerStatuses = pod.spec.containers.map(({ name: container, image }) => ({
      ...{ name: container, image, imageID: '', ready: true, started: true, restartCount: 0 },
      state: { running: { startedAt: new Date().toISOString() } },
    }));
    const addresses = { podIP: address, podIPs: [{ ip: address }], hostIP: address };
    await this.#client.patch(`api/v1/namespaces/${namespace}/pods/${name}/status`, {
      headers: { 'content-type': 'application/merge-patch+json' },
      body: JSON.stringify({ status: { phase: 'Running', ...addresses, conditions, containerStatuses } }),
    });
  }

  /** Writes the volumes of ConfigMaps and Secrets, and an empty directory for each other one. */
  async #mount(
    { metadata: { namespace }, spec: { volumes, containers } }: Pod,
    home: string,
    ip: string,
  ): Promise<void> {
    for (const { name, configMap, secret } of volumes) {
      await mkdir(join(home, name));
      const path =
        configMap === undefined
          ? secret === undefined
            ? ''
            : `secrets/${secret.secretName}`
          : `configmaps/${configMap.name}`;
      if (path === '') continue;
      const { body } = await this.#client<{ data: Record<string, string> }>(`api/v1/namespaces/${namespace}/${path}`);
      for (const [key, value] of Object.entries(body.data)) {
        const text = secret === undefined ? value : Buffer.from(value, 'base64').toString();
        await writeFile(join(home, name, key), place(text, containers[0]?.volumeMounts ?? [], home, ip));
      }
    }
  }

  /** The kubeconfig of the pod's own ServiceAccount. */
  async #kubeconfig({ metadata: { namespace }, spec: { serviceAccountName: account } }: Pod): Promise<string> {
    const { body } = await this.#client.post<{ status: { token: string } }>(
      `api/v1/namespaces/${namespace}/serviceaccounts/${account}/token`,
      { json: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} } },
    );
    return this.#cluster.kubeconfigFor(account, body.status.token);
  }

  async #remove({ metadata: { name, namespace } }: Pod): Promise<void> {
    await this.#stop(name);
    await this.#client.delete(`api/v1/namespaces/${namespace}/pods/${name}`, {
      json: { gracePeriodSeconds: 0 },
      throwHttpErrors: false,
    });
  }

  async #stop(pod: string): Promise<void> {
    const running = this.#running.get(pod);
    if (running === undefined) return;
    await Promise.all(running.containers.values().map((container) => container.end('SIGTERM')));
    this.#running.delete(pod);
    await rm(running.home, { recursive: true });
  }
}

/** The condition for which the controller of nodes removes the taint `not-ready` and adds no `unreachable`. */
function readyNow(): object[] {
  return [{ type: 'Ready', status: 'True', reason: 'KubeletReady', lastHeartbeatTime: new Date().toISOString() }];
}

/** A text of the pod with the paths and addresses of this machine, whose network all masters share. */
function place(text: string, mounts: NonNullable<Container['volumeMounts']>, home: string, address: string): string {
  return mounts
    .reduce((placed, { name, mountPath }) => placed.replaceAll(mountPath, join(home, name)), text)
    .replaceAll('$(POD_IP)', address)
    .replaceAll('127.0.0.1', address);
}

function listens(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, host, () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => {
      resolve(false);
    });
  });
}

/** The variables that name the node and the pod; those of the network belong to `place`. */
function downwardApi(env: NonNullable<Container['env']>, { metadata, spec }: Pod): Record<string, string> {
  const fields: Record<string, string | undefined> = { 'spec.nodeName': spec.nodeName, 'metadata.name': metadata.name };
  const values = env.map(({ name, valueFrom }) => [name, fields[valueFrom?.fieldRef?.fieldPath ?? ''] ?? ''] as const);
  return Object.fromEntries(values.filter(([, value]) => value !== ''));
}
