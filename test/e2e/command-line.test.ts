import { expect } from 'chai';
import { join } from 'node:path';
import { CommandLineClient, CommandLineError, discoverEndpoint } from '../support/command-line-client.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { Front, type FrontKind } from '../support/fronts/front.ts';
import { describeWithAll } from '../support/peers/binaries.ts';
import {
  applyObject,
  containerOf,
  type KubernetesObject,
  namespaceObject,
  renderChart,
} from '../support/peers/chart.ts';
import { Cluster, NAMESPACE, USERS, type User } from '../support/peers/cluster.ts';
import { CLI, PLUGIN, PROGRAMS, publishCommandLine } from '../support/published-command-line.ts';
import { rejection } from '../support/rejection.ts';
import { ServiceProcess } from '../support/service-process.ts';
import { CA } from '../support/tls/certificates.ts';

const USER = { kind: 'User', apiGroup: 'rbac.authorization.k8s.io', name: USERS.operator.name };

/** The directives that ingress-nginx writes for the annotations of the chart's Ingress. */
function ingress({ metadata }: KubernetesObject): FrontKind {
  const { annotations = {} } = metadata as { readonly annotations?: Readonly<Record<string, string>> };
  const of = (name: string): string => annotations[`nginx.ingress.kubernetes.io/${name}`] ?? '';
  return {
    name: 'nginx as Ingress',
    programs: ['nginx'],
    configure: ({ home, port, originPort, cert, key }) =>
      Promise.resolve({
        files: {
          'nginx.conf': `
            ${process.getuid?.() === 0 ? 'user nobody nogroup;' : ''}
            daemon off; worker_processes 1; pid ${home}/run/nginx.pid; error_log stderr; events {}
            http {
              access_log off;
              client_body_temp_path ${home}/tmp/a; proxy_temp_path ${home}/tmp/b; fastcgi_temp_path ${home}/tmp/c;
              uwsgi_temp_path ${home}/tmp/d; scgi_temp_path ${home}/tmp/e;
              server {
                listen 127.0.0.1:${String(port)} ssl; ssl_certificate ${cert}; ssl_certificate_key ${key};
                location /v1/images/ {
                  proxy_pass ${of('backend-protocol').toLowerCase()}://127.0.0.1:${String(originPort)};
                  proxy_http_version 1.1; proxy_set_header Host $host; proxy_set_header Connection "";
                  client_max_body_size ${of('proxy-body-size')}; proxy_buffering ${of('proxy-buffering')};
                  proxy_read_timeout ${of('proxy-read-timeout')}s; proxy_send_timeout ${of('proxy-send-timeout')}s;
                }
              }
            }`,
        },
        processes: [{ program: 'nginx', args: ['-e', 'stderr', '-p', home, '-c', join(home, 'nginx.conf')] }],
      }),
  };
}

describeWithAll(['etcd', 'kube-apiserver', 'kube-rbac-proxy', 'helm', 'nginx'], (programs) => {
  describe('the command line in a cluster', () => {
    let cluster: Cluster;
    let registry: FakeRegistry;
    let service: ServiceProcess;
    let chart: readonly KubernetesObject[];
    let sidecarPort: number;
    let front: Front;

    before(async () => {
      registry = await FakeRegistry.start();
      publishCommandLine(registry);
      cluster = await Cluster.start(programs);
      const admin = cluster.as('admin');
      const values = [
        '--set-json',
        `clients.images=[${JSON.stringify(USER)}]`,
        '--set',
        'publicEndpoint.host=localhost',
      ];
      chart = await renderChart(programs.helm, ...values);
      for (const name of ['d8-system', 'd8-monitoring', NAMESPACE]) await applyObject(admin, namespaceObject(name));
      for (const object of chart) if (/Role|ServiceAccount/.test(object.kind)) await applyObject(admin, object);
      const registries = [{ repo: `${registry.host}/deckhouse/ee`, default: true, scheme: 'HTTP' }];
      service = await ServiceProcess.start({ settings: { credentials: { registries } } });
      ({ port: sidecarPort } = await cluster.guard(service.port, containerOf(chart, 'kube-rbac-proxy').args));
      front = await Front.start(ingress(objectOf('Ingress')), programs, sidecarPort);
    });
    after(async () => {
      for (const part of [front, service, cluster, registry]) await (part as typeof part | undefined)?.close();
    });

    function objectOf(kind: string): KubernetesObject {
      const found = chart.find((object) => object.kind === kind);
      if (found === undefined) throw new Error(`the chart has no ${kind}`);
      return found;
    }

    const client = (user: User, endpoint: string): CommandLineClient =>
      new CommandLineClient(endpoint, { token: USERS[user].token, ca: CA });

    async function expectAll(commandLine: CommandLineClient): Promise<void> {
      // check, versions and status; update; plugins versions, contract and install.
      expect(await commandLine.tags(CLI)).to.deep.equal(['v1.0.0', 'v1.1.0']);
      expect((await commandLine.pull(CLI, 'v1.0.0', 'linux-amd64', 'd8')).equals(PROGRAMS.amd64)).to.equal(true);
      expect(await commandLine.tags(PLUGIN)).to.deep.equal(['v0.1.0']);
      expect(await commandLine.contract(PLUGIN, 'v0.1.0')).to.deep.equal({ name: 'stronghold' });
      expect((await commandLine.pull(PLUGIN, 'v0.1.0', 'linux-amd64', 'plugin')).equals(PROGRAMS.amd64)).to.equal(true);
    }

    it('finds a ready pod if there is no Ingress, and updates itself and its plugins through the sidecar', async () => {
      const pods = `api/v1/namespaces/${NAMESPACE}/pods`;
      const missing = await rejection(discoverEndpoint(cluster.as('admin'), NAMESPACE));
      expect(missing.message).to.equal(`no ready pods in namespace ${NAMESPACE}`);
      await cluster.as('admin').post(pods, {
        json: {
          apiVersion: 'v1',
          kind: 'Pod',
          metadata: { name: 'proxy', labels: { app: 'registry-packages-proxy' } },
          spec: {
            serviceAccountName: 'registry-packages-proxy',
            containers: [{ name: 'proxy', image: 'proxy' }],
          },
        },
      });
      const conditions = [{ type: 'Ready', status: 'True' }];
      await cluster.as('admin').patch(`${pods}/proxy/status`, {
        headers: { 'content-type': 'application/merge-patch+json' },
        body: JSON.stringify({
          status: { phase: 'Running', podIP: '127.0.0.1', podIPs: [{ ip: '127.0.0.1' }], conditions },
        }),
      });
      const endpoint = await discoverEndpoint(cluster.as('admin'), NAMESPACE);
      expect(endpoint).to.equal('https://127.0.0.1:4219');
      await expectAll(client('operator', endpoint.replace(':4219', `:${String(sidecarPort)}`)));
    });

    it('finds the Ingress with only the rights of its role, and updates itself through nginx', async () => {
      await applyObject(cluster.as('admin'), objectOf('Ingress'));
      const endpoint = await discoverEndpoint(cluster.as('operator'), NAMESPACE);
      expect(endpoint).to.equal('https://localhost');
      await expectAll(client('operator', `${endpoint}:${String(front.port)}`));
    });

    it('downloads an image once, although its clients leave after their file', () => {
      expect(registry.requests('/blobs/')).to.have.lengthOf(2);
      const unhappy = service.lines.filter(({ level, route }) => level !== 'info' && route === '/v1/images/images');
      expect(unhappy).to.deep.equal([]);
    });

    it('is refused without the role, and reaches no other path through the Ingress', async () => {
      for (const port of [sidecarPort, front.port]) {
        const error = await rejection(client('stranger', `https://localhost:${String(port)}`).tags(CLI));
        expect(error).to.be.instanceOf(CommandLineError);
        expect(error.message).to.match(/^status 403/);
      }
      const other = new CommandLineClient(`https://localhost:${String(front.port)}/metrics?`, {
        token: USERS.admin.token,
        ca: CA,
      });
      expect((await rejection(other.tags(''))).message).to.match(/^status 404/);
    });
  });
});
