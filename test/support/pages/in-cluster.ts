/** Runs a command beside a cluster of three masters and a registry that has the packages of examples/mirror. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PASSWORD, USERNAME } from '../fake-registry.ts';
import { findProgram, type Program } from '../peers/binaries.ts';
import { Cluster } from '../peers/cluster.ts';
import { Kubelets } from '../peers/kubelets.ts';
import { defineModuleSource } from '../peers/module-source.ts';
import { PeerRegistry } from '../peers/peer-registry.ts';
import { ROOT } from './page.ts';

const HOST = 'registry.example.com';

const home = await mkdtemp(join(tmpdir(), 'registry-'));
const ca = join(home, 'ca.pem');
const registry = await startRegistry();
const cluster = await Cluster.start({
  etcd: program('etcd'),
  'kube-apiserver': program('kube-apiserver'),
  'kube-rbac-proxy': program('kube-rbac-proxy'),
});
await cluster.startControllers(program('kube-controller-manager'));
await defineModuleSource(cluster.as('admin'));
const kubelets = new Kubelets(cluster, program('kube-rbac-proxy'));
await kubelets.start();
try {
  const [, , command = '', ...args] = process.argv;
  const child = spawn(command, args, {
    stdio: 'inherit',
    env: {
      ...process.env,
      KUBECONFIG: await cluster.kubeconfig('admin'),
      REGISTRY_USERNAME: USERNAME,
      REGISTRY_PASSWORD: PASSWORD,
      REGISTRY_CA: ca,
    },
  });
  [process.exitCode] = (await once(child, 'exit')) as [number | undefined];
} finally {
  await kubelets.end();
  await cluster.close();
  await registry.close();
  await rm(home, { recursive: true });
}

/** By TLS and a password, on HTTPS' own port, as a registry of a site is. */
async function startRegistry(): Promise<PeerRegistry> {
  const key = join(home, 'key.pem');
  const names = ['-subj', `/CN=${HOST}`, '-addext', `subjectAltName=DNS:${HOST},IP:127.0.0.1`];
  const certificate = ['-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1', '-keyout', key, '-out', ca, ...names];
  execFileSync('openssl', ['req', ...certificate], { stdio: 'pipe' });
  const files = { cert: await readFile(ca, 'utf8'), key: await readFile(key, 'utf8') };
  const started = await PeerRegistry.start({
    program: 'docker-registry',
    path: program('docker-registry'),
    basicAuth: true,
    tls: files,
    port: 443,
  });
  const env = { ...process.env, HOME: home, SSL_CERT_FILE: ca };
  const crane = (...args: string[]): unknown => execFileSync(program('crane'), args, { stdio: 'pipe', env });
  crane('auth', 'login', HOST, '--username', USERNAME, '--password', PASSWORD);
  crane('push', '--index', join(ROOT, 'examples/mirror'), `${HOST}/deckhouse/ee:examples`);
  return started;
}

function program(name: Program): string {
  const path = findProgram(name);
  if (path === undefined) throw new Error(`${name} is not here`);
  return path;
}
