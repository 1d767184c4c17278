import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Got } from 'got';
import { eventually } from '../support/eventually.ts';
import { describeWithAll } from '../support/peers/binaries.ts';
import { applyObject, CHART, namespaceObject } from '../support/peers/chart.ts';
import { Cluster } from '../support/peers/cluster.ts';

const run = promisify(execFile);
const PATIENCE_MS = 60_000;
const LABEL = 'pod-security.kubernetes.io/enforce';

describeWithAll(
  ['etcd', 'kube-apiserver', 'kube-rbac-proxy', 'kube-controller-manager', 'kubectl', 'helm'],
  (programs) => {
    describe('in a cluster that enforces the PodSecurity level baseline, as Talos does, the chart', () => {
      let cluster: Cluster;
      let admin: Got;
      let kubeconfig: string;
      before(async () => {
        cluster = await Cluster.start(programs, 'baseline');
        admin = cluster.as('admin');
        kubeconfig = await cluster.kubeconfig('admin');
        await cluster.startControllers(programs['kube-controller-manager']);
      });
      after(() => cluster.close());

      const install = async (namespace: string, ...args: string[]): Promise<string> => {
        const release = [namespace, CHART, '--namespace', namespace, '--kubeconfig', kubeconfig];
        return (await run(programs.helm, ['install', ...release, ...args])).stdout;
      };
      const events = async (namespace: string): Promise<string[]> => {
        const { body } = await admin<{ items: { message: string }[] }>(`api/v1/namespaces/${namespace}/events`);
        return body.items.map(({ message }) => message);
      };
      const pods = async (namespace: string): Promise<number> => {
        const { body } = await admin<{ items: object[] }>(`api/v1/namespaces/${namespace}/pods`);
        return body.items.length;
      };
      const comesUp = (namespace: string): Promise<void> =>
        eventually(async () => {
          expect(await pods(namespace)).to.equal(1);
        }, PATIENCE_MS);

      it('gets no pods in a namespace without the label, and runs after the command of its notes', async () => {
        const notes = await install('bare', '--create-namespace');
        await eventually(async () => {
          expect((await events('bare')).join('\n')).to.match(
            /violates PodSecurity "baseline:latest": host namespaces \(hostNetwork=true\), hostPort/,
          );
        }, PATIENCE_MS);
        expect(await pods('bare')).to.equal(0);
        const [command = ''] = /kubectl label namespace .*/.exec(notes) ?? [];
        const [, ...args] = command.split(' ');
        await run(programs.kubectl, ['--kubeconfig', kubeconfig, ...args]);
        await comesUp('bare');
        await run(programs.helm, ['uninstall', 'bare', '--namespace', 'bare', '--kubeconfig', kubeconfig]);
      });

      it('gets its pods in a namespace with the label, and prints no note about it', async () => {
        await applyObject(admin, namespaceObject('labelled', { [LABEL]: 'privileged' }));
        expect(await install('labelled')).not.to.include(LABEL);
        await comesUp('labelled');
        expect((await events('labelled')).join('\n')).not.to.include('PodSecurity');
      });
    });
  },
);
