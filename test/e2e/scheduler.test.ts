import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Got } from 'got';
import { describeWithAll } from '../support/peers/binaries.ts';
import { applyObject, CHART, namespaceObject } from '../support/peers/chart.ts';
import { Cluster, NAMESPACE } from '../support/peers/cluster.ts';
import { eventually } from '../support/eventually.ts';

const run = promisify(execFile);
const PATIENCE_MS = 30_000;
const PODS = `api/v1/namespaces/${NAMESPACE}/pods`;
const MERGE_PATCH = { 'content-type': 'application/merge-patch+json' };

interface Taint {
  readonly key: string;
  readonly effect: 'NoSchedule' | 'NoExecute';
}

interface Pod {
  readonly metadata: { readonly name: string; readonly deletionTimestamp?: string };
  readonly spec: { readonly nodeName?: string };
}

/** The taints of a master before its cloud provider and network plugin have come. */
const BOOTSTRAP: readonly Taint[] = [
  { key: 'node-role.kubernetes.io/control-plane', effect: 'NoSchedule' },
  { key: 'node.cloudprovider.kubernetes.io/uninitialized', effect: 'NoSchedule' },
  { key: 'node.kubernetes.io/network-unavailable', effect: 'NoSchedule' },
  { key: 'node.kubernetes.io/not-ready', effect: 'NoSchedule' },
  { key: 'node.kubernetes.io/not-ready', effect: 'NoExecute' },
];

describeWithAll(
  ['etcd', 'kube-apiserver', 'kube-rbac-proxy', 'kube-controller-manager', 'kube-scheduler', 'helm'],
  (programs) => {
    describe('on the real scheduler, the pods of the chart', () => {
      let cluster: Cluster;
      let admin: Got;
      let kubeconfig: string;
      beforeEach(async () => {
        cluster = await Cluster.start(programs);
        admin = cluster.as('admin');
        kubeconfig = await cluster.kubeconfig('admin');
        // The index of pods by node, which the eviction by taints needs, is made by the controller of nodes.
        await cluster.startControllers(programs['kube-controller-manager'], ['taint-eviction', 'node-lifecycle']);
        await cluster.startScheduler(programs['kube-scheduler']);
        for (const name of ['d8-system', 'd8-monitoring', NAMESPACE]) await applyObject(admin, namespaceObject(name));
      });
      afterEach(() => cluster.close());

      async function addMaster(
        name: string,
        labels: Readonly<Record<string, string>>,
        taints: readonly Taint[] = [],
        ready = 'True',
      ) {
        const room = { cpu: '4', memory: '8Gi', pods: '110', 'ephemeral-storage': '50Gi' };
        const conditions = [{ type: 'Ready', status: ready, reason: 'test', message: 'test' }];
        await admin.post('api/v1/nodes', {
          json: {
            apiVersion: 'v1',
            kind: 'Node',
            metadata: { name, labels: { 'kubernetes.io/hostname': name, ...labels } },
            spec: { taints },
            status: { capacity: room, allocatable: room, conditions },
          },
        });
      }
      const CONTROL_PLANE = { 'node-role.kubernetes.io/control-plane': '' };
      const install = (...args: string[]): Promise<unknown> =>
        run(programs.helm, ['install', 'test', CHART, '--namespace', NAMESPACE, '--kubeconfig', kubeconfig, ...args]);
      const patchNode = (name: string, spec: object): Promise<unknown> =>
        admin.patch(`api/v1/nodes/${name}`, { headers: MERGE_PATCH, body: JSON.stringify({ spec }) });
      const podsThere = async (): Promise<Pod[]> => {
        const { body } = await admin<{ items: Pod[] }>(PODS);
        return body.items.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
      };
      const places = async (): Promise<(string | undefined)[]> => (await podsThere()).map(({ spec }) => spec.nodeName);
      const placed = (...nodes: string[]): Promise<void> =>
        eventually(async () => {
          expect((await places()).toSorted()).to.deep.equal(nodes);
        }, PATIENCE_MS);
      async function setReady(pod: string, ready: boolean): Promise<void> {
        const conditions = ['Ready', 'ContainersReady'].map((type) => ({ type, status: ready ? 'True' : 'False' }));
        const body = JSON.stringify({ status: { phase: 'Running', conditions } });
        await admin.patch(`${PODS}/${pod}/status`, { headers: MERGE_PATCH, body });
      }
      /** Its status, as `kubectl drain` gets it. */
      async function evict(pod: string): Promise<number> {
        const metadata = { name: pod, namespace: NAMESPACE };
        const response = await admin.post(`${PODS}/${pod}/eviction`, {
          json: { apiVersion: 'policy/v1', kind: 'Eviction', metadata },
          throwHttpErrors: false,
        });
        return response.statusCode;
      }
      const removed = (pod: string): Promise<unknown> =>
        admin.delete(`${PODS}/${pod}`, { json: { gracePeriodSeconds: 0 }, throwHttpErrors: false });
      /** The one place that waits for something not to happen: the scheduler says in an event that it has tried. */
      const refused = (): Promise<void> =>
        eventually(async () => {
          const { body } = await admin<{ items: { reason: string }[] }>(`api/v1/namespaces/${NAMESPACE}/events`);
          expect(body.items.map(({ reason }) => reason)).to.include('FailedScheduling');
        }, PATIENCE_MS);

      it('run on masters that are not initialized, not ready and without a network yet', async () => {
        for (const name of ['m0', 'm1', 'm2']) await addMaster(name, CONTROL_PLANE, BOOTSTRAP, 'False');
        await install('--set', 'highAvailability=true');
        await placed('m0', 'm1', 'm2');
      });

      it('run on a master with the label of k3s or RKE2, and on no worker', async () => {
        await addMaster('worker', {});
        await addMaster('m0', { 'node-role.kubernetes.io/control-plane': 'true' });
        await install();
        await placed('m0');
      });

      it('leave a drained master until it accepts pods again', async () => {
        for (const name of ['m0', 'm1', 'm2']) await addMaster(name, CONTROL_PLANE);
        await install('--set', 'highAvailability=true');
        await placed('m0', 'm1', 'm2');
        const pods = await podsThere();
        for (const { metadata } of pods) await setReady(metadata.name, true);
        const drained = pods.find(({ spec }) => spec.nodeName === 'm0')?.metadata.name ?? '';
        await patchNode('m0', { unschedulable: true });
        await eventually(async () => {
          expect(await evict(drained)).to.equal(201);
        }, PATIENCE_MS);
        await removed(drained);
        await refused();
        expect((await places()).filter((node) => node !== undefined).toSorted()).to.deep.equal(['m1', 'm2']);
        await patchNode('m0', { unschedulable: null });
        await placed('m0', 'm1', 'm2');
      });

      it('move from an unreachable master to another one if there is one replica', async () => {
        for (const name of ['m0', 'm1']) await addMaster(name, CONTROL_PLANE);
        await install();
        await eventually(async () => {
          expect(await places())
            .to.have.lengthOf(1)
            .and.not.to.include(undefined);
        }, PATIENCE_MS);
        const [first = ''] = await places();
        // As the controller of nodes sees a master whose kubelet is silent; it sets the taints by itself.
        const conditions = [{ type: 'Ready', status: 'Unknown', reason: 'test', message: 'test' }];
        await admin.patch(`api/v1/nodes/${first}/status`, {
          headers: MERGE_PATCH,
          body: JSON.stringify({ status: { conditions } }),
        });
        await placed(first === 'm0' ? 'm1' : 'm0');
      });

      it('that are not ready do not block the drain of a master', async () => {
        for (const name of ['m0', 'm1', 'm2']) await addMaster(name, CONTROL_PLANE);
        await install('--set', 'highAvailability=true');
        await placed('m0', 'm1', 'm2');
        const [sick, ...others] = await podsThere();
        for (const { metadata } of others) await setReady(metadata.name, true);
        const name = sick?.metadata.name ?? '';
        await setReady(name, false);
        await eventually(async () => {
          expect(await evict(name)).to.equal(201);
        }, PATIENCE_MS);
      });
    });
  },
);
