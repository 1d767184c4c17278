/** A Kubernetes API of real programs on loopback: etcd, kube-apiserver and, before a service, kube-rbac-proxy. */
import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import got, { type Got } from 'got';
import { CA, serverCertificate } from '../tls/certificates.ts';
import { freePort, PeerProcess } from './process.ts';

export interface ClusterPrograms {
  readonly etcd: string;
  readonly 'kube-apiserver': string;
  readonly 'kube-rbac-proxy': string;
}

/** The chart's release in the tests. */
export const NAMESPACE = 'd8-cloud-instance-manager';

/** The users of the cluster: token, name, groups. */
export const USERS = {
  admin: { token: 'canary-admin', name: 'admin', groups: ['system:masters'] },
  service: { token: 'canary-service', name: `system:serviceaccount:${NAMESPACE}:registry-packages-proxy`, groups: [] },
  node: { token: 'canary-node', name: 'node', groups: ['system:bootstrappers:d8-node-manager'] },
  scraper: { token: 'canary-scraper', name: 'd8-monitoring:scraper', groups: [] },
  operator: { token: 'canary-operator', name: 'operator', groups: [] },
  stranger: { token: 'canary-stranger', name: 'stranger', groups: [] },
} as const;

export type User = keyof typeof USERS;

interface GuardOptions {
  readonly ca?: string;
  /** The value of `status.podIP`. */
  readonly podIp?: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** A prefix for a command that runs it in the same process. */
  readonly wrapper?: readonly string[];
}

export class Cluster {
  readonly #programs: ClusterPrograms;
  readonly #home: string;
  readonly #etcdPort: number;
  readonly #port: number;
  readonly #processes: PeerProcess[] = [];
  readonly #podSecurity: string;
  #apiServer: PeerProcess | undefined;

  private constructor(programs: ClusterPrograms, home: string, etcdPort: number, port: number, podSecurity: string) {
    this.#programs = programs;
    this.#podSecurity = podSecurity;
    this.#home = home;
    this.#etcdPort = etcdPort;
    this.#port = port;
  }

  /** `podSecurity` is the enforced level in a namespace without a label. */
  static async start(programs: ClusterPrograms, podSecurity = 'privileged'): Promise<Cluster> {
    const home = await mkdtemp(join(tmpdir(), 'cluster-'));
    const cluster = new Cluster(programs, home, await freePort(), await freePort(), podSecurity);
    try {
      await cluster.#writeFiles();
      await cluster.#startEtcd();
      await cluster.startApiServer();
      return cluster;
    } catch (error) {
      await cluster.close();
      throw error;
    }
  }

  /** A client of the API server with the token of a user. */
  as(user: User, port = this.#port): Got {
    return got.extend({
      prefixUrl: `https://127.0.0.1:${String(port)}`,
      headers: { authorization: `Bearer ${USERS[user].token}` },
      https: { certificateAuthority: CA },
      retry: { limit: 0 },
      responseType: 'json',
    });
  }

  /** The kubeconfig of a user. */
  kubeconfig(user: User): Promise<string> {
    return this.kubeconfigFor(user, USERS[user].token);
  }

  /** The same for the owner of this token. */
  async kubeconfigFor(user: string, token: string): Promise<string> {
    const path = join(this.#home, `${user}.kubeconfig`);
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [
        {
          name: 'test',
          cluster: {
            server: `https://127.0.0.1:${String(this.#port)}`,
            'certificate-authority-data': Buffer.from(CA).toString('base64'),
          },
        },
      ],
      users: [{ name: user, user: { token } }],
      contexts: [{ name: 'test', context: { cluster: 'test', user } }],
      'current-context': 'test',
    };
    await writeFile(path, JSON.stringify(config));
    return path;
  }

  /** Runs the controllers that make pods of Deployments, tokens for Secrets and counts of PodDisruptionBudgets, and those in `more`. */
  async startControllers(program: string, more: readonly string[] = []): Promise<void> {
    const port = await freePort();
    const controllers = ['deployment', 'replicaset', 'serviceaccount-token', 'disruption', ...more];
    const manager = new PeerProcess(program, [
      `--kubeconfig=${await this.kubeconfig('admin')}`,
      `--controllers=${controllers.map((name) => `${name}-controller`).join()}`,
      `--service-account-private-key-file=${join(this.#home, 'sa.key')}`,
      `--root-ca-file=${this.certificates.ca}`,
      '--leader-elect=false',
      '--bind-address=127.0.0.1',
      `--secure-port=${String(port)}`,
      `--tls-cert-file=${this.certificates.cert}`,
      `--tls-private-key-file=${this.certificates.key}`,
    ]);
    this.#processes.push(manager);
    const client = got.extend({ https: { certificateAuthority: CA }, retry: { limit: 0 } });
    await manager.ready(async () => (await client(`https://127.0.0.1:${String(port)}/healthz`)).statusCode === 200);
  }

  async startScheduler(program: string): Promise<void> {
    const port = await freePort();
    const scheduler = new PeerProcess(program, [
      `--kubeconfig=${await this.kubeconfig('admin')}`,
      '--leader-elect=false',
      '--bind-address=127.0.0.1',
      `--secure-port=${String(port)}`,
      `--tls-cert-file=${this.certificates.cert}`,
      `--tls-private-key-file=${this.certificates.key}`,
    ]);
    this.#processes.push(scheduler);
    const client = got.extend({ https: { certificateAuthority: CA }, retry: { limit: 0 } });
    await scheduler.ready(async () => (await client(`https://127.0.0.1:${String(port)}/healthz`)).statusCode === 200);
  }

  async startApiServer(): Promise<void> {
    this.#apiServer = await this.#runApiServer(this.#port);
  }

  async stopApiServer(): Promise<void> {
    await this.#apiServer?.end();
  }

  /** Runs an action by a second API server of the same cluster while the first one is away. */
  async behindItsBack(action: (client: Got) => Promise<unknown>): Promise<void> {
    const port = await freePort();
    const other = await this.#runApiServer(port);
    await action(this.as('admin', port));
    await other.end();
  }

  /**
   * Starts kube-rbac-proxy before a service with the arguments of the chart on an address of the pod; `ca` has signed its
   * certificate.
   */
  async guard(
    servicePort: number,
    args: readonly string[],
    { ca = CA, podIp = '127.0.0.1', environment = {}, wrapper = [] }: GuardOptions = {},
  ): Promise<PeerProcess & { readonly port: number }> {
    const port = await freePort();
    const { cert, key } = this.certificates;
    const placed = args.map((arg) =>
      this.placed(arg)
        // As the kubelet writes it.
        .replace('$(POD_IP)', podIp)
        .replace(':4219', `:${String(port)}`)
        .replace('127.0.0.1:5080', `127.0.0.1:${String(servicePort)}`),
    );
    // Without these arguments it uses a self-signed certificate that no client can verify.
    if (!args.some((arg) => arg.startsWith('--tls-cert-file'))) {
      placed.push(`--tls-cert-file=${cert}`, `--tls-private-key-file=${key}`);
    }
    placed.push(`--kubeconfig=${await this.kubeconfig('service')}`);
    const command = [...wrapper, this.#programs['kube-rbac-proxy'], ...placed] as [string, ...string[]];
    const [program, ...rest] = command;
    const proxy = new PeerProcess(program, rest, environment);
    this.#processes.push(proxy);
    const client = got.extend({ https: { certificateAuthority: ca }, retry: { limit: 0 } });
    const host = podIp.includes(':') ? `[${podIp}]` : podIp;
    await proxy.ready(async () => (await client(`https://${host}:${String(port)}/healthz`)).statusCode === 200);
    return Object.assign(proxy, { port });
  }

  /** A text of the chart in which the files of this cluster replace those of the volumes of a pod. */
  placed(text: string): string {
    const { cert, key, ca } = this.certificates;
    return text.replaceAll(/\/etc\/[\w-]+\/(\w+)\.(crt|key)/g, (_path, name: string, extension: string) =>
      name === 'ca' ? ca : extension === 'crt' ? cert : key,
    );
  }

  /** The files of one certificate for 127.0.0.1 for servers and clients. */
  get certificates(): { cert: string; key: string; ca: string } {
    const file = (name: string): string => join(this.#home, name);
    return { cert: file('cert'), key: file('key'), ca: file('ca') };
  }

  async close(): Promise<void> {
    await this.stopApiServer();
    for (const process of this.#processes.toReversed()) await process.end();
    await rm(this.#home, { recursive: true });
  }

  async #writeFiles(): Promise<void> {
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const users = Object.values(USERS).map(
      ({ token, name, groups }) => `${token},${name},${name},"${groups.join(',')}"`,
    );
    const files = {
      ...serverCertificate('localhost'),
      ca: CA,
      'tokens.csv': `${users.join('\n')}\n`,
      'sa.key': privateKey.export({ type: 'pkcs8', format: 'pem' }),
      'sa.pub': publicKey.export({ type: 'spki', format: 'pem' }),
      'admission.json': JSON.stringify(podSecurityDefault(this.#podSecurity)),
    };
    for (const [name, content] of Object.entries(files)) await writeFile(join(this.#home, name), content);
  }

  async #startEtcd(): Promise<void> {
    const url = `http://127.0.0.1:${String(this.#etcdPort)}`;
    const peerUrl = `http://127.0.0.1:${String(await freePort())}`;
    const etcd = new PeerProcess(this.#programs.etcd, [
      `--data-dir=${join(this.#home, 'etcd')}`,
      `--listen-client-urls=${url}`,
      `--advertise-client-urls=${url}`,
      `--listen-peer-urls=${peerUrl}`,
      `--initial-advertise-peer-urls=${peerUrl}`,
      `--initial-cluster=default=${peerUrl}`,
      '--unsafe-no-fsync',
    ]);
    this.#processes.push(etcd);
    await etcd.ready(async () => (await got(`${url}/health`, { retry: { limit: 0 } })).statusCode === 200);
  }

  async #runApiServer(port: number): Promise<PeerProcess> {
    const file = (name: string): string => join(this.#home, name);
    const server = new PeerProcess(this.#programs['kube-apiserver'], [
      `--etcd-servers=http://127.0.0.1:${String(this.#etcdPort)}`,
      '--bind-address=127.0.0.1',
      '--advertise-address=127.0.0.1',
      `--secure-port=${String(port)}`,
      `--cert-dir=${file('certificates')}`,
      `--tls-cert-file=${file('cert')}`,
      `--tls-private-key-file=${file('key')}`,
      `--token-auth-file=${file('tokens.csv')}`,
      '--authorization-mode=RBAC',
      '--service-cluster-ip-range=10.0.0.0/24',
      '--service-account-issuer=https://kubernetes.default.svc',
      `--service-account-key-file=${file('sa.pub')}`,
      `--service-account-signing-key-file=${file('sa.key')}`,
      `--admission-control-config-file=${file('admission.json')}`,
      // No controller makes ServiceAccounts here.
      '--disable-admission-plugins=ServiceAccount',
    ]);
    this.#processes.push(server);
    await server.ready(
      async () => (await this.as('admin', port)('readyz', { responseType: 'text' })).statusCode === 200,
    );
    return server;
  }
}

/** The configuration of the API server of Talos. */
function podSecurityDefault(enforce: string): object {
  const configuration = {
    apiVersion: 'pod-security.admission.config.k8s.io/v1',
    kind: 'PodSecurityConfiguration',
    defaults: { enforce, 'enforce-version': 'latest' },
  };
  return {
    apiVersion: 'apiserver.config.k8s.io/v1',
    kind: 'AdmissionConfiguration',
    plugins: [{ name: 'PodSecurity', configuration }],
  };
}
