/**
 * Runs a command with a cluster of three masters, the real scheduler and the real controllers of nodes and pods, and a
 * registry with the packages of examples/mirror; after `--bare` the cluster has no ModuleSources.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Cluster } from '../peers/cluster.ts';
import { Kubelets } from '../peers/kubelets.ts';
import { defineModuleSource } from '../peers/module-source.ts';
import { program, startSiteRegistry } from './site-registry.ts';

const isBare = process.argv[2] === '--bare';
const [command = '', ...args] = process.argv.slice(isBare ? 3 : 2);
const registry = await startSiteRegistry();
const programs = {
  etcd: program('etcd'),
  'kube-apiserver': program('kube-apiserver'),
  'kube-rbac-proxy': program('kube-rbac-proxy'),
};
// Talos enforces the level baseline by default.
const cluster = await Cluster.start(programs, isBare ? 'baseline' : 'privileged');
await cluster.startControllers(program('kube-controller-manager'), ['node-lifecycle', 'taint-eviction']);
await cluster.startScheduler(program('kube-scheduler'));
if (!isBare) await defineModuleSource(cluster.as('admin'));
const kubelets = new Kubelets(cluster, program('kube-rbac-proxy'));
await kubelets.start();
try {
  const child = spawn(command, args, {
    stdio: 'inherit',
    env: {
      ...process.env,
      KUBECONFIG: await cluster.kubeconfig('admin'),
      ...registry.environment,
    },
  });
  [process.exitCode] = (await once(child, 'exit')) as [number | undefined];
} finally {
  await kubelets.end();
  await cluster.close();
  await registry.close();
}
