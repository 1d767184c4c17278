import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { mergeSettings } from '../../src/infrastructure/load-settings.ts';
import { readSettingsFile } from '../../src/adapters/cli/settings-file.ts';
import { describeWithAll } from '../support/peers/binaries.ts';
import {
  applyObject,
  CHART,
  containerOf,
  define,
  installDefinitions,
  type KubernetesObject,
  namespaceObject,
  parseObjects,
  renderChart,
  settingsOf,
} from '../support/peers/chart.ts';
import { Cluster, NAMESPACE, USERS } from '../support/peers/cluster.ts';
import { API, GRAFANA_DASHBOARD_DEFINITION } from '../support/peers/grafana-dashboard-definition.ts';
import { defineModuleSource } from '../support/peers/module-source.ts';
import { rejection } from '../support/rejection.ts';

const run = promisify(execFile);

/** The paths of all values and blocks, as `--set` takes them. */
function pathsOf(values: Readonly<Record<string, unknown>>, above = ''): string[] {
  return Object.entries(values).flatMap(([name, value]) => {
    const path = `${above}${name}`;
    const isBlock = typeof value === 'object' && value !== null && !Array.isArray(value);
    return [path, ...(isBlock ? pathsOf(value as Record<string, unknown>, `${path}.`) : [])];
  });
}

interface Resources {
  readonly resources: Readonly<Record<'requests' | 'limits', { readonly memory: string }>>;
}

const PEERS = [
  'etcd',
  'kube-apiserver',
  'kube-rbac-proxy',
  'helm',
  'podmonitors.yaml',
  'listenersets.yaml',
  'httproutes.yaml',
  'backendtlspolicies.yaml',
  'prometheusrules.yaml',
  'verticalpodautoscalers.yaml',
] as const;

/** The privileges of a pod that runs before the network of pods; all other fields have the level restricted. */
const UNRESTRICTED =
  /^299 - "would violate PodSecurity .*: host namespaces \(hostNetwork=true\), hostPort [^)]*(?:uses hostPort 4219|use hostPorts 4219, 4282)\), (hostPath volumes \(volume \\"registry-agent\\"\), )?probe or lifecycle host [^,]* host \\"127\.0\.0\.1\\"\)(, restricted volume types \(volume \\"registry-agent\\" uses restricted volume type \\"hostPath\\"\))?"$/;

const GATEWAY_KINDS = ['listenersets.yaml', 'httproutes.yaml', 'backendtlspolicies.yaml'] as const;

describeWithAll(PEERS, (programs) => {
  describe('the chart', () => {
    let cluster: Cluster;
    let kubeconfig: string;
    before(async () => {
      cluster = await Cluster.start(programs);
      const admin = cluster.as('admin');
      await defineModuleSource(admin);
      await installDefinitions(admin, programs['verticalpodautoscalers.yaml']);
      await installDefinitions(admin, programs['podmonitors.yaml']);
      for (const kind of GATEWAY_KINDS) await installDefinitions(admin, programs[kind]);
      await installDefinitions(admin, programs['prometheusrules.yaml']);
      await define(admin, [GRAFANA_DASHBOARD_DEFINITION]);
      for (const name of ['d8-system', 'd8-monitoring']) await applyObject(admin, namespaceObject(name));
      await applyObject(admin, namespaceObject(NAMESPACE, { 'pod-security.kubernetes.io/warn': 'restricted' }));
      kubeconfig = await cluster.kubeconfig('admin');
    });
    after(() => cluster.close());

    /** The output of an installation as a dry run on the API server. */
    const asked = (...args: readonly string[]): Promise<{ stdout: string }> => {
      const release = ['--namespace', NAMESPACE, '--kubeconfig', kubeconfig];
      return run(programs.helm, ['install', 'asked', CHART, '--dry-run=server', ...release, ...args]);
    };

    it('passes the lint of Helm', async () => {
      const { stdout } = await run(programs.helm, ['lint', '--strict', CHART]);
      expect(stdout).to.include('0 chart(s) failed');
    });

    for (const values of readdirSync(join(CHART, 'ci'))) {
      it(`renders objects that the API server accepts, with ci/${values}`, async () => {
        const objects = await renderChart(programs.helm, '--values', join(CHART, 'ci', values));
        expect(objects.length).to.be.greaterThan(10);
        for (const object of objects) {
          const warnings = await applyObject(cluster.as('admin'), object, true);
          expect(warnings, object.kind).to.match(object.kind === 'Deployment' ? UNRESTRICTED : /^$/);
        }
      });
    }

    for (const values of readdirSync(join(CHART, 'ci'))) {
      it(`writes settings that the service accepts, with ci/${values}`, async () => {
        const objects = await renderChart(programs.helm, '--values', join(CHART, 'ci', values));
        const directory = await mkdtemp(join(tmpdir(), 'chart-'));
        await writeFile(join(directory, 'settings.yaml'), settingsOf(objects));
        const files = [join(CHART, '../../config/default.yaml'), join(directory, 'settings.yaml')];
        const settings = mergeSettings(files.map(readSettingsFile));
        await rm(directory, { recursive: true });
        expect(settings.credentials.source).to.equal('kubernetes');
        const deployment = JSON.stringify(objects.find(({ kind }) => kind === 'Deployment'));
        const volumeMebibytes = Number(/"sizeLimit":"(\d+)Mi"/.exec(deployment)?.[1]);
        const maxMebibytes = settings.store.maxSize / 2 ** 20;
        expect(volumeMebibytes).to.be.at.least(maxMebibytes + Math.max(64, Math.floor(maxMebibytes / 10)));
        expect(deployment).to.include(`"ephemeral-storage":"${String(volumeMebibytes)}Mi"`);
      });

      it(`has no probe that restarts the service for a fault of the sidecar, with ci/${values}`, async () => {
        const objects = await renderChart(programs.helm, '--values', join(CHART, 'ci', values));
        const probes = Object.entries(containerOf(objects, 'proxy')).filter(([name]) => name.endsWith('Probe'));
        expect(probes.map(([name]) => name)).to.include.members(['startupProbe', 'livenessProbe']);
        for (const [name, probe] of probes) {
          const { httpGet } = probe as Record<string, object | undefined>;
          expect(httpGet, name).to.include({ host: '127.0.0.1', port: 5080 });
        }
      });
    }

    it('runs three replicas on different nodes if the values say so', async () => {
      const deploymentWith = async (...args: string[]): Promise<string> => {
        const objects = await renderChart(programs.helm, ...args);
        return JSON.stringify(objects.find(({ kind }) => kind === 'Deployment'));
      };
      const [one, three] = [await deploymentWith(), await deploymentWith('--set', 'highAvailability=true')];
      expect(one).to.include('"replicas":1').and.not.to.include('podAntiAffinity');
      expect(three).to.include('"replicas":3').and.to.include('podAntiAffinity');
      for (const deployment of [one, three]) expect(deployment).to.include('"maxSurge":0');
    });

    it('gives both containers the resources for the number of nodes by the formula of docs/sizing.md, or those of the values', async () => {
      const resourcesWith = async (...args: string[]): Promise<unknown[]> => {
        const objects = await renderChart(programs.helm, ...args);
        const { env } = containerOf(objects, 'kube-rbac-proxy') as unknown as {
          env: { name: string; value?: string }[];
        };
        const memoryOf = (name: string): unknown[] => {
          const { resources } = containerOf(objects, name) as unknown as Resources;
          return [resources.requests.memory, resources.limits.memory];
        };
        const limit = env.find(({ name }) => name === 'GOMEMLIMIT')?.value;
        return [...memoryOf('proxy'), ...memoryOf('kube-rbac-proxy'), limit];
      };
      const expected: [clients: number, resources: string[]][] = [
        [1, ['256Mi', '769Mi', '33Mi', '69Mi', '48MiB']],
        [250, ['256Mi', '1018Mi', '70Mi', '1127Mi', '110MiB']],
        [1000, ['285Mi', '1768Mi', '182Mi', '4314Mi', '298MiB']],
      ];
      for (const [clients, resources] of expected) {
        expect(await resourcesWith('--set', `expectedClients=${String(clients)}`)).to.deep.equal(resources);
      }
      const sets = 'resources.limits.memory=2Gi,kubeRbacProxyResources.requests.memory=1Gi';
      expect(await resourcesWith('--set', sets)).to.deep.equal(['256Mi', '2Gi', '1Gi', '1127Mi', '110MiB']);
    });

    it('opens /v2/ only if the values say so, with a separate permission, and accepts connections for twice the nodes', async () => {
      const openings = (objects: readonly KubernetesObject[]): string[] =>
        objects
          .filter(({ kind }) => kind === 'ClusterRole' || kind === 'ClusterRoleBinding')
          .filter((object) => /distribution|\/v2\//.test(JSON.stringify(object)))
          .map(({ kind, metadata }) => `${kind} ${metadata.name}`);
      const plain = await renderChart(programs.helm);
      expect(openings(plain)).to.deep.equal([]);
      expect(settingsOf(plain)).to.include('maxConnections: 2048').and.not.to.include('distribution');
      const open = await renderChart(programs.helm, '--values', join(CHART, 'ci/distribution-values.yaml'));
      const name = 'registry-packages-proxy-distribution-reader';
      expect(openings(open)).to.deep.equal([`ClusterRole ${name}`, `ClusterRoleBinding ${name}`]);
      expect(settingsOf(open))
        .to.include('maxConnections: 10000')
        .and.to.match(/distribution:\s+enabled: true/);
      const role = open.find(({ kind, metadata }) => kind === 'ClusterRole' && metadata.name === name);
      expect(role).to.have.deep.property('rules', [{ nonResourceURLs: ['/v2/*'], verbs: ['*'] }]);
      // The right to fetch packages does not include whole images.
      const readers = open.find(
        ({ kind, metadata }) => kind === 'ClusterRole' && metadata.name === name.replace('distribution', 'package'),
      );
      expect(JSON.stringify(readers)).not.to.include('/v2/');
    });

    it('replaces its pods for new settings, except for a new log level', async () => {
      const templateWith = async (set: string): Promise<string> => {
        const objects = await renderChart(programs.helm, '--set', set);
        return JSON.stringify(objects.find(({ kind }) => kind === 'Deployment')?.['spec' as keyof object]);
      };
      const [info, debug] = [await templateWith('logLevel=info'), await templateWith('logLevel=debug')];
      expect(info)
        .to.match(/"checksum\/settings":"[0-9a-f]{64}"/)
        .and.to.equal(debug);
      expect(await templateWith('registrySecret.name=other')).not.to.equal(info);
    });

    it('omits objects whose kind the cluster does not have', async () => {
      const { stdout } = await run(programs.helm, ['template', 'test', CHART]);
      expect(stdout).not.to.match(/^kind: (PodMonitor|PrometheusRule|VerticalPodAutoscaler)$/m);
      const kinds = (await renderChart(programs.helm)).map(({ kind }) => kind);
      expect(kinds).to.include.members(['PodMonitor', 'PrometheusRule', 'VerticalPodAutoscaler']);
    });

    it('provides the dashboard to Grafana as a ConfigMap, or as an object of Deckhouse if the cluster has its kind', async () => {
      const dashboards = async (...args: string[]): Promise<KubernetesObject[]> =>
        (await renderChart(programs.helm, ...args)).filter((object) =>
          JSON.stringify(object).includes('schemaVersion'),
        );
      const [plain, ...others] = await dashboards();
      expect(plain).to.include({ kind: 'ConfigMap' });
      const [deckhouse, ...more] = await dashboards('--api-versions', API);
      if (deckhouse === undefined) throw new Error('no dashboard');
      expect(deckhouse).to.include({ kind: 'GrafanaDashboardDefinition' });
      expect(await applyObject(cluster.as('admin'), deckhouse, true)).to.equal('');
      expect([...others, ...more, ...(await dashboards('--set', 'dashboard.enabled=false'))]).to.deep.equal([]);
    });

    it('labels every object with the usual labels of tools, and with those that clients of the Go implementation use', async () => {
      for (const { kind, metadata } of await renderChart(programs.helm)) {
        for (const label of ['name', 'instance', 'version', 'component', 'part-of', 'managed-by']) {
          expect(metadata.labels, kind).to.have.property(`app.kubernetes.io/${label}`);
        }
        expect(metadata.labels, kind).to.include({ app: 'registry-packages-proxy' });
      }
    });

    it('refuses an invalid value and names its path', async () => {
      const wrong: [set: string, path: string][] = [
        ['cache.size=lots', '/cache/size'],
        ['publicEndpoint.host=https://rpp.example', '/publicEndpoint/host'],
        ['publicEndpoint.host=rpp.example:8443', '/publicEndpoint/host'],
        ['publicEndpoint.host=RPP.example', '/publicEndpoint/host'],
        ['port=0', '/port'],
        ['expectedClients=0', '/expectedClients'],
        ['expectedClients=many', '/expectedClients'],
        ['loopback=open', '/loopback'],
        ['clientCA=/etc/ca.crt', '/clientCA'],
        ['tlsSecret=-----BEGIN CERTIFICATE-----', '/tlsSecret'],
        ['httpProxy.https=http://a http://b', '/httpProxy/https'],
        ['httpProxy.noProxy[0]=10.0.0.0/8 a.example', '/httpProxy/noProxy/0'],
        ['httpProxy.noProxy[0]=https://a.example', '/httpProxy/noProxy/0'],
        ['nonsense=1', 'nonsense'],
        ['hardened.secrets=x', 'secrets'],
        ['resources.request.memory=1Gi', 'request'],
        ['tolerations[0].operator=exists', '/tolerations/0/operator'],
        ['podMonitor.namespace=D8', '/podMonitor/namespace'],
        ['prometheusRule.runbooks=', '/prometheusRule/runbooks'],
        ['dashboard.namespace=D8', '/dashboard/namespace'],
        ['dashboard.folders=x', 'folders'],
        ['resources.limits.ephemeral-storage=1Gi', 'the volume of the cache takes 1126Mi'],
        ['resources.limits.ephemeral-storage=1200M', 'set 1226Mi or more, in Mi or Gi'],
        ['resources.limits.ephemeral-storage=1126Mi', 'the logs of both containers take 100Mi'],
        ['nodeToken.enabled=maybe', '/nodeToken/enabled'],
        ['image=null', "missing property 'image'"],
        ['cache=null', "missing property 'cache'"],
        ['image.repository=', 'image.repository is required'],
        ['image.digest=sha256:1', '/image/digest'],
        ['registry.signature.mode=maybe', '/registry/signature/mode'],
        ['registry.signature.mode=enforce', 'needs registry.signature.keysConfigMap'],
      ];
      for (const [set, path] of wrong) {
        expect((await rejection(renderChart(programs.helm, '--set', set))).message, set).to.include(path);
      }
    });

    it('names the missing block in a sentence for each block that is null, and never fails inside Go', async () => {
      const values = parse(await readFile(join(CHART, 'values.yaml'), 'utf8')) as Record<string, unknown>;
      for (const path of pathsOf(values)) {
        const error = await renderChart(programs.helm, '--set', `${path}=null`).then(() => undefined, String);
        if (error !== undefined) expect(error, path).to.match(/missing propert|got null/);
      }
    }).timeout(60_000);

    it('mounts the CA of the registry agent read-only if the cluster has ModuleSources or the values say so', async () => {
      const deploymentWith = async (...args: string[]): Promise<KubernetesObject[]> => {
        const { stdout } = await run(programs.helm, ['template', 'test', CHART, '--skip-tests', ...args]);
        return parseObjects(stdout);
      };
      const mount = { name: 'registry-agent', mountPath: '/etc/kubernetes/registry-agent/pki', readOnly: true };
      const ca = mergeSettings([readSettingsFile(join(CHART, '../../config/default.yaml'))]).credentials.kubernetes
        .agent.ca;
      expect(ca).to.equal(`${mount.mountPath}/ca.crt`);
      for (const args of [
        ['--set', 'registryAgent.enabled=true'],
        ['--api-versions', 'deckhouse.io/v1alpha1'],
      ]) {
        const objects = await deploymentWith(...args);
        expect(containerOf(objects, 'proxy')).to.have.property('volumeMounts').that.deep.includes(mount);
        expect(JSON.stringify(containerOf(objects, 'kube-rbac-proxy'))).not.to.include('registry-agent');
        expect(JSON.stringify(objects)).to.include(
          `"hostPath":{"path":"${mount.mountPath}","type":"DirectoryOrCreate"}`,
        );
      }
      for (const args of [[], ['--api-versions', 'deckhouse.io/v1alpha1', '--set', 'registryAgent.enabled=false']]) {
        expect(JSON.stringify(await deploymentWith(...args))).not.to.include('hostPath');
      }
    });

    it('mounts the keys of signatures only if these are verified', async () => {
      const signature = 'registry.signature.mode=enforce,registry.signature.keysConfigMap=1e3';
      const objects = await renderChart(programs.helm, '--set', signature);
      const mount = { name: 'signature-keys', mountPath: '/etc/signature-keys', readOnly: true };
      expect(containerOf(objects, 'proxy')).to.have.property('volumeMounts').that.deep.includes(mount);
      expect(JSON.stringify(objects)).to.include('{"name":"signature-keys","configMap":{"name":"1e3"}}');
      expect(JSON.stringify(objects)).not.to.include('signature-roots');
      expect(settingsOf(objects)).to.include('mode: "enforce"').and.include('keys: "/etc/signature-keys/cosign.pub"');
      expect(JSON.stringify(objects)).to.match(/"RegistryPackagesProxySignatures".{0,400}"severity":"critical"/);
      const off = await renderChart(programs.helm, '--set', 'registry.signature.keysConfigMap=x');
      expect(settingsOf(off)).not.to.include('signature');
      expect(JSON.stringify(off)).not.to.include('signature-keys');
    });

    it('makes a token without expiry if the cluster has ModuleSources or the values say so', async () => {
      const { stdout } = await run(programs.helm, ['template', 'test', CHART]);
      expect(stdout).not.to.include('kubernetes.io/service-account-token');
      for (const args of [
        ['--set', 'nodeToken.enabled=true'],
        ['--api-versions', 'deckhouse.io/v1alpha1'],
      ]) {
        const rendered = await run(programs.helm, ['template', 'test', CHART, ...args]);
        expect(rendered.stdout).to.include('kubernetes.io/service-account-token');
      }
    });

    it('serves the bootstrap port if the UUID of the cluster is known, and without the UUID only if the values say so', async () => {
      const uuid = '0f0e6a2c-1f43-4c6c-a0f9-2c2b6d0c4c11';
      const isServed = (objects: KubernetesObject[]): boolean =>
        objects.some(({ kind, metadata }) => kind === 'Service' && metadata.name.endsWith('-bootstrap'));
      const rendered = await renderChart(programs.helm);
      expect(isServed(rendered)).to.equal(false);
      expect(settingsOf(rendered)).not.to.include('bootstrap:');
      const given = await renderChart(programs.helm, '--set', `bootstrap.clusterUUID=${uuid}`);
      expect(isServed(given)).to.equal(true);
      expect(settingsOf(given)).to.include('listenAddress: ":4282"').and.to.include(`clusterUUID: "${uuid}"`);
      expect(containerOf(given, 'proxy')).to.deep.include({
        ports: [{ name: 'bootstrap', containerPort: 4282, hostPort: 4282, protocol: 'TCP' }],
      });
      const off = await renderChart(programs.helm, '--set', `bootstrap.clusterUUID=${uuid},bootstrap.enabled=false`);
      expect(isServed(off)).to.equal(false);
      const error = await rejection(renderChart(programs.helm, '--set', 'bootstrap.enabled=true'));
      expect(error.message).to.include('set bootstrap.clusterUUID, or bootstrap.allowWithoutUUID');
      expect(isServed(await renderChart(programs.helm, '--set', 'bootstrap.allowWithoutUUID=true'))).to.equal(true);
      await applyObject(cluster.as('admin'), {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: 'd8-cluster-uuid', namespace: 'kube-system' },
        data: { 'cluster-uuid': uuid },
      } as KubernetesObject);
      const { stdout } = await asked();
      expect(stdout).to.include(`clusterUUID: "${uuid}"`);
      await cluster.as('admin').delete('api/v1/namespaces/kube-system/configmaps/d8-cluster-uuid');
    });

    it('has an Ingress only for images and only if a host is set', async () => {
      const isIngress = ({ kind }: KubernetesObject): boolean => kind === 'Ingress';
      expect((await renderChart(programs.helm)).filter(isIngress)).to.deep.equal([]);
      const [ingress, ...others] = (
        await renderChart(programs.helm, '--set', 'publicEndpoint.host=packages.example.com')
      ).filter(isIngress);
      expect(others).to.deep.equal([]);
      expect(ingress?.metadata.name).to.equal('registry-packages-proxy');
      const text = JSON.stringify(ingress);
      expect(text.match(/"path":"[^"]*"/g)).to.deep.equal(['"path":"/v1/images/"']);
      expect(text).to.include('"host":"packages.example.com"').and.to.include('backend-protocol":"HTTPS"');
    });

    it('has a ListenerSet and HTTPRoutes for images instead of an Ingress if a Gateway is set', async () => {
      const values = { host: 'packages.example.com', gateway: { name: 'public', namespace: 'gateways' } };
      const set = ['--set-json', `publicEndpoint=${JSON.stringify(values)}`];
      const { stdout } = await asked(...set, '--output', 'json');
      const { manifest } = JSON.parse(stdout) as { manifest: string };
      const kinds = ['ListenerSet', 'HTTPRoute', 'BackendTLSPolicy', 'Ingress'];
      const objects = parseObjects(manifest).filter(({ kind }) => kinds.includes(kind));
      expect(objects.map(({ kind, metadata }) => `${kind} ${metadata.name}`).sort()).to.deep.equal([
        'BackendTLSPolicy registry-packages-proxy',
        'HTTPRoute registry-packages-proxy',
        'HTTPRoute registry-packages-proxy-redirect',
        'ListenerSet registry-packages-proxy',
      ]);
      for (const object of objects) expect(await applyObject(cluster.as('admin'), object, true)).to.equal('');
      const route = JSON.stringify(
        objects.find(({ metadata, kind }) => kind === 'HTTPRoute' && !metadata.name.includes('redirect')),
      );
      expect(route.match(/"value":"[^"]*"/g)).to.deep.equal(['"value":"/v1/images/"']);
      const error = await rejection(renderChart(programs.helm, ...set));
      expect(error.message).to.include('publicEndpoint.gateway needs the kind ListenerSet');
    });

    it('quotes every name, so that none becomes a number, a boolean or null', async () => {
      const names = ['registrySecret.name', 'registrySecret.namespace', 'tlsSecret', 'clientCA', 'hardened.secret'];
      for (const value of ['2024', '0x10', '1e3', 'null', 'true']) {
        const sets = names.flatMap((name) => ['--set-string', `${name}=${value}`]);
        const objects = await renderChart(programs.helm, ...sets, '--set-string', `priorityClassName=${value}`);
        const role = objects.find(({ kind }) => kind === 'Role');
        expect(role?.metadata.namespace).to.equal(value);
        expect(JSON.stringify(role)).to.include(`"resourceNames":["${value}",`);
        const deployment = JSON.stringify(objects.find(({ kind }) => kind === 'Deployment'));
        expect(deployment).to.include(`"priorityClassName":"${value}"`).and.to.include(`"secretName":"${value}"`);
        expect(settingsOf(objects)).to.include(`name: "${value}"`);
      }
    });

    it('accepts labels and annotations that replace its own, except those that select objects', async () => {
      const own = { app: 'theirs', 'app.kubernetes.io/part-of': 'theirs', 'app.kubernetes.io/instance': 'theirs' };
      const pod = { 'kubectl.kubernetes.io/default-container': 'theirs', 'checksum/settings': 'theirs' };
      const objects = await renderChart(
        programs.helm,
        ...['commonLabels', 'podLabels'].flatMap((name) => ['--set-json', `${name}=${JSON.stringify(own)}`]),
        ...['podMonitor', 'prometheusRule', 'dashboard'].flatMap((name) => ['--set', `${name}.labels.app=theirs`]),
        ...['--set-json', `podAnnotations=${JSON.stringify(pod)}`, '--set', 'publicEndpoint.host=rpp.example'],
        '--set-json',
        'publicEndpoint.annotations={"nginx.ingress.kubernetes.io/proxy-read-timeout":"600"}',
      );
      const labelled = new Set(['PodMonitor', 'PrometheusRule']);
      for (const object of objects) {
        const { kind, metadata } = object;
        const isLabelled = labelled.has(kind) || metadata.name.endsWith('-dashboard');
        expect(metadata.labels, kind).to.include({
          app: isLabelled ? 'theirs' : 'registry-packages-proxy',
          'app.kubernetes.io/part-of': 'theirs',
          'app.kubernetes.io/instance': 'test',
        });
        await applyObject(cluster.as('admin'), object, true);
      }
      const ingress = JSON.stringify(objects.find(({ kind }) => kind === 'Ingress'));
      expect(ingress).to.include('proxy-read-timeout":"600"').and.to.include('backend-protocol":"HTTPS"');
      const deployment = JSON.stringify(objects.find(({ kind }) => kind === 'Deployment'));
      expect(deployment).to.include('default-container":"theirs"').and.not.to.include('checksum/settings":"theirs"');
    });

    it('is accepted by the API server with another strategy of which only the type is set', async () => {
      const objects = await renderChart(programs.helm, '--set', 'updateStrategy.type=Recreate');
      const deployment = objects.find(({ kind }) => kind === 'Deployment');
      if (deployment === undefined) throw new Error('no Deployment');
      await applyObject(cluster.as('admin'), deployment, true);
      expect(deployment).to.have.nested.property('spec.strategy.type', 'Recreate');
    });

    it('is accepted by the API server in a version with build metadata, which Flux appends', async () => {
      const directory = await mkdtemp(join(tmpdir(), 'chart-'));
      await cp(CHART, directory, { recursive: true });
      const file = join(directory, 'Chart.yaml');
      const version = `0.2.0-rc.1+${'0123456789abcdef'.repeat(3)}`;
      const text = (await readFile(file, 'utf8')).replace(/^((?:v|appV)ersion): .*/gm, `$1: ${version}`);
      await writeFile(file, text);
      const { stdout } = await run(programs.helm, ['template', 'test', directory, '--skip-tests', '-n', NAMESPACE]);
      await rm(directory, { recursive: true });
      for (const object of parseObjects(stdout)) await applyObject(cluster.as('admin'), object, true);
      expect(containerOf(parseObjects(stdout), 'proxy'))
        .to.have.property('image')
        .that.not.includes('+');
    });

    it('accepts additions of operators to its pod and its objects, and extra objects', async () => {
      const values = {
        image: { repository: 'registry.example.com/proxy', digest: `sha256:${'0'.repeat(64)}` },
        extraEnv: [{ name: 'NODE_EXTRA_CA_CERTS', value: '/extra/ca.crt' }],
        extraArgs: ['--log-level', 'debug'],
        extraVolumes: [{ name: 'extra', configMap: { name: 'extra' } }],
        extraVolumeMounts: [{ name: 'extra', mountPath: '/extra' }],
        initContainers: [{ name: 'first', image: 'first' }],
        podAnnotations: { a: '1' },
        podLabels: { b: '2' },
        commonLabels: { c: '3' },
        tolerations: [{ key: 'mine', operator: 'Exists' }],
        topologySpreadConstraints: [
          {
            maxSkew: 1,
            topologyKey: 'topology.kubernetes.io/zone',
            whenUnsatisfiable: 'ScheduleAnyway',
            labelSelector: { matchLabels: { app: 'registry-packages-proxy' } },
          },
        ],
        serviceAccount: { annotations: { d: '4' } },
        httpProxy: { secret: 'proxy-url' },
        extraObjects: [
          {
            apiVersion: 'v1',
            kind: 'ConfigMap',
            metadata: { name: '{{ .Release.Name }}-extra', namespace: NAMESPACE },
          },
        ],
      };
      const directory = await mkdtemp(join(tmpdir(), 'chart-'));
      await writeFile(join(directory, 'values.yaml'), JSON.stringify(values));
      const objects = await renderChart(programs.helm, '--values', join(directory, 'values.yaml'));
      await rm(directory, { recursive: true });
      for (const object of objects) await applyObject(cluster.as('admin'), object, true);
      expect(objects.map(({ metadata }) => metadata.name)).to.include('test-extra');
      const deployment = JSON.stringify(objects.find(({ kind }) => kind === 'Deployment'));
      for (const text of [
        `"image":"registry.example.com/proxy@sha256:${'0'.repeat(64)}"`,
        '"NODE_EXTRA_CA_CERTS"',
        '"--log-level","debug"',
        '"mountPath":"/extra"',
        '"name":"first"',
        '"a":"1"',
        '"b":"2"',
        '"key":"mine"',
        '"secretKeyRef":{"name":"proxy-url","key":"https","optional":true}',
      ]) {
        expect(deployment).to.include(text);
      }
      for (const { kind, metadata } of objects.filter(({ metadata: { name } }) => name !== 'test-extra')) {
        expect(metadata.labels, kind).to.include({ c: '3' });
      }
    });

    it('is not partly installed if the namespace of the Secret does not exist', async () => {
      const args = ['install', 'half', CHART, '--namespace', NAMESPACE, '--kubeconfig', kubeconfig];
      const error = await rejection(run(programs.helm, [...args, '--set', 'registrySecret.namespace=none']));
      expect(error.message).to.include('the namespace none does not exist');
      const { body } = await cluster.as('admin')<{ items: unknown[] }>(
        `api/v1/namespaces/${NAMESPACE}/serviceaccounts`,
      );
      expect(body.items).to.deep.equal([]);
    });

    it('is installed by one command', async () => {
      const { name } = USERS.operator;
      const operators = JSON.stringify([{ kind: 'User', apiGroup: 'rbac.authorization.k8s.io', name }]);
      const args = ['install', 'test', CHART, '--namespace', NAMESPACE, '--kubeconfig', kubeconfig];
      const { stdout } = await run(programs.helm, [
        ...args,
        '--set-json',
        `clients.explain=${operators},clients.status=${operators},clients.images=${operators}`,
      ]);
      expect(stdout).to.include('STATUS: deployed');
      expect(stdout)
        .to.match(/curl -fsS .*Authorization: Bearer \$TOKEN/)
        .and.to.include('/package?digest=sha256:');
      const { body } = await cluster.as('admin')<{ spec: { replicas: number } }>(
        `apis/apps/v1/namespaces/${NAMESPACE}/deployments/registry-packages-proxy`,
      );
      expect(body.spec.replicas).to.equal(1);
      // Prometheus verifies the guarded port by the CA that the chart has made.
      const monitors = await cluster.as('admin')<{ spec: { podMetricsEndpoints: { tlsConfig: object }[] } }>(
        'apis/monitoring.coreos.com/v1/namespaces/d8-monitoring/podmonitors/registry-packages-proxy',
      );
      expect(monitors.body.spec.podMetricsEndpoints[0]?.tlsConfig).to.deep.equal({
        ca: { configMap: { name: 'registry-packages-proxy-ca', key: 'ca.crt' } },
        serverName: `registry-packages-proxy.${NAMESPACE}.svc`,
      });
      const cas = await Promise.all(
        [NAMESPACE, 'd8-monitoring'].map((namespace) =>
          cluster.as('admin')<{ data: object }>(`api/v1/namespaces/${namespace}/configmaps/registry-packages-proxy-ca`),
        ),
      );
      expect(cas[0]?.body.data).to.deep.equal(cas[1]?.body.data);
    });

    describe('lets, once it is installed,', () => {
      async function may(user: keyof typeof USERS, attributes: object): Promise<boolean> {
        const { name, groups } = USERS[user];
        const review = { apiVersion: 'authorization.k8s.io/v1', kind: 'SubjectAccessReview' };
        const { body } = await cluster
          .as('admin')
          .post<{ status: { allowed: boolean } }>('apis/authorization.k8s.io/v1/subjectaccessreviews', {
            json: { ...review, spec: { user: name, groups, ...attributes } },
          });
        return body.status.allowed;
      }
      const resource = (group: string, name: string, verb: string, more: object = {}): object => ({
        resourceAttributes: { group, resource: name, verb, ...more },
      });
      const path = (url: string, verb: string): object => ({ nonResourceAttributes: { path: url, verb } });
      /** The rights of the service in a namespace. */
      async function rulesOf(namespace: string): Promise<{ resources: string[]; verbs: string[] }[]> {
        const review = { apiVersion: 'authorization.k8s.io/v1', kind: 'SelfSubjectRulesReview', spec: { namespace } };
        const { body } = await cluster
          .as('service')
          .post<{ status: { resourceRules: { resources: string[]; verbs: string[] }[] } }>(
            'apis/authorization.k8s.io/v1/selfsubjectrulesreviews',
            { json: review },
          );
        return body.status.resourceRules;
      }
      const theSecret = { namespace: 'd8-system', name: 'deckhouse-registry' };

      it('the service make all its requests', async () => {
        for (const verb of ['list', 'watch']) {
          expect(await may('service', resource('deckhouse.io', 'modulesources', verb)), verb).to.equal(true);
          expect(await may('service', resource('deckhouse.io', 'packagerepositories', verb)), verb).to.equal(true);
          expect(await may('service', resource('', 'secrets', verb, theSecret)), verb).to.equal(true);
        }
        expect(await may('service', resource('authentication.k8s.io', 'tokenreviews', 'create'))).to.equal(true);
        expect(await may('service', resource('authorization.k8s.io', 'subjectaccessreviews', 'create'))).to.equal(true);
      });

      it('the service make no other request', async () => {
        const forbidden = [
          resource('deckhouse.io', 'modulesources', 'get'),
          resource('', 'secrets', 'get', theSecret),
          resource('deckhouse.io', 'modulesources', 'update'),
          resource('deckhouse.io', 'modulesources', 'delete'),
          resource('deckhouse.io', 'packagerepositories', 'update'),
          resource('', 'secrets', 'get', { ...theSecret, name: 'other' }),
          resource('', 'secrets', 'list', { namespace: 'd8-system' }),
          resource('', 'configmaps', 'list', { namespace: 'd8-system' }),
          resource('', 'configmaps', 'get', { namespace: 'd8-system', name: 'registry-image-address' }),
          resource('', 'secrets', 'get', { namespace: NAMESPACE, name: 'deckhouse-registry' }),
          resource('', 'secrets', 'update', theSecret),
          resource('', 'pods', 'list'),
          resource('', 'events', 'create', { namespace: NAMESPACE }),
          path('/package', 'get'),
          path('/manifest', 'get'),
          path('/metrics', 'get'),
        ];
        for (const attributes of forbidden) {
          expect(await may('service', attributes), JSON.stringify(attributes)).to.equal(false);
        }
      });

      it('the service have no other right in any rule of the API server', async () => {
        const everywhere = (await rulesOf(NAMESPACE)).filter(({ resources }) => !resources.join().startsWith('self'));
        expect(everywhere.map(({ resources, verbs }) => `${verbs.join()} ${resources.join()}`).sort()).to.deep.equal([
          'create subjectaccessreviews',
          'create tokenreviews',
          'list,watch modulesources,packagerepositories',
        ]);
        const secrets = (await rulesOf('d8-system')).filter(({ resources }) => resources.includes('secrets'));
        expect(secrets).to.deep.equal([
          {
            apiGroups: [''],
            resources: ['secrets'],
            resourceNames: ['deckhouse-registry', 'registry-storage-access'],
            verbs: ['list', 'watch'],
          },
        ]);
        const configMaps = (await rulesOf('d8-system')).filter(({ resources }) => resources.includes('configmaps'));
        expect(configMaps).to.deep.equal([
          {
            apiGroups: [''],
            resources: ['configmaps'],
            resourceNames: ['registry-image-address'],
            verbs: ['list', 'watch'],
          },
        ]);
      });

      it('only the users of d8 find it and fetch images by name', async () => {
        const own = [
          path('/v1/images/deckhouse-cli/tags', 'get'),
          path('/v1/images/deckhouse-cli/plugins/a/images/v1', '*'),
          resource('apps', 'deployments', 'get', {
            namespace: NAMESPACE,
            name: 'registry-packages-proxy',
            subresource: 'cli-binary',
          }),
          resource('networking.k8s.io', 'ingresses', 'get', { namespace: NAMESPACE, name: 'registry-packages-proxy' }),
        ];
        for (const attributes of own) {
          expect(await may('operator', attributes), JSON.stringify(attributes)).to.equal(true);
          for (const user of ['node', 'scraper', 'stranger', 'service'] as const) {
            expect(await may(user, attributes), user).to.equal(false);
          }
        }
        expect(await may('operator', path('/v1/packages/a/b/metadata/icon', 'get'))).to.equal(false);
      });

      it('only nodes fetch packages, only monitoring read metrics, and only operators request explanations', async () => {
        for (const verb of ['get', '*']) {
          for (const seen of ['/explain', '/status', '/']) {
            expect(await may('operator', path(seen, verb))).to.equal(true);
            for (const user of ['node', 'scraper', 'stranger'] as const) {
              expect(await may(user, path(seen, verb)), user).to.equal(false);
            }
          }
          for (const other of ['/package', '/manifest', '/metrics', '/status/x', '/x'])
            expect(await may('operator', path(other, verb))).to.equal(false);
          for (const own of ['/package', '/manifest']) {
            expect(await may('node', path(own, verb))).to.equal(true);
            expect(await may('scraper', path(own, verb))).to.equal(false);
            expect(await may('stranger', path(own, verb))).to.equal(false);
          }
          expect(await may('scraper', path('/metrics', verb))).to.equal(true);
          expect(await may('node', path('/metrics', verb))).to.equal(false);
        }
        expect(await may('node', path('/package/x', 'get'))).to.equal(false);
      });
    });
  });
});
