import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { parsePage, ROOT } from '../support/pages/page.ts';
import { describeWithAll } from '../support/peers/binaries.ts';
import { containerOf, parseObjects } from '../support/peers/chart.ts';
import { PeerRegistry } from '../support/peers/peer-registry.ts';

const run = promisify(execFile);
const PAGE = 'docs/quickstart.md';
/** The fields of kind.x-k8s.io/v1alpha4 that a cluster of the page may have (kind, pkg/apis/config/v1alpha4/types.go). */
const FIELDS = {
  cluster: [
    'kind',
    'apiVersion',
    'name',
    'nodes',
    'networking',
    'featureGates',
    'runtimeConfig',
    'kubeadmConfigPatches',
  ],
  node: ['role', 'image', 'labels', 'extraMounts', 'extraPortMappings', 'kubeadmConfigPatches'],
  mapping: ['containerPort', 'hostPort', 'listenAddress', 'protocol'],
};

interface KindCluster {
  readonly kind: string;
  readonly apiVersion: string;
  readonly nodes: readonly {
    readonly role: string;
    readonly extraPortMappings: readonly { readonly containerPort: number; readonly hostPort: number }[];
  }[];
}

/** No container engine runs here, so each command is executed as far as it needs none. */
describeWithAll(['helm', 'crane', 'docker-registry'], (programs) => {
  describe('the quickstart with kind', () => {
    const { commands, files } = parsePage(PAGE, readFileSync(join(ROOT, PAGE), 'utf8'));
    const blocks = commands.filter(({ section }) => section === 'A cluster with kind').map(({ text }) => text);
    const all = blocks.join('\n');
    const cluster = parse(files.get('kind.yaml') ?? '') as KindCluster;
    const [mapping] = cluster.nodes[0]?.extraPortMappings ?? [];

    const shell = (script: string) => {
      const path = [dirname(programs.helm), dirname(programs.crane), process.env['PATH']].join(':');
      return run('bash', ['-euo', 'pipefail', '-c', script], { cwd: ROOT, env: { ...process.env, PATH: path } });
    };
    /** The command of the page that begins so, with its lines that go on. */
    const commandOf = (begin: string): string => {
      const lines = all.split('\n');
      const at = lines.findIndex((line) => line.startsWith(begin));
      const end = lines.findIndex((line, index) => index >= at && !line.endsWith('\\'));
      return lines.slice(at, end + 1).join('\n');
    };

    it('has a cluster with only fields of kind', () => {
      expect(cluster).to.include({ kind: 'Cluster', apiVersion: 'kind.x-k8s.io/v1alpha4' });
      expect(FIELDS.cluster).to.include.members(Object.keys(cluster));
      for (const node of cluster.nodes) {
        expect(FIELDS.node).to.include.members(Object.keys(node));
        for (const one of node.extraPortMappings) expect(FIELDS.mapping).to.include.members(Object.keys(one));
      }
      expect(cluster.nodes.map(({ role }) => role)).to.deep.equal(['control-plane']);
    });

    it('has commands that a shell can parse', async () => {
      expect(blocks).to.have.lengthOf(4);
      for (const block of blocks) await run('bash', ['-n', '-c', block]);
    });

    it('installs the image that it builds and loads, behind the port that it maps', async () => {
      const [, built] = /^docker build -t (\S+) \.$/m.exec(all) ?? [];
      const [, loaded] = /^kind load docker-image (\S+)$/m.exec(all) ?? [];
      const { stdout } = await shell(commandOf('helm install').replace('helm install', 'helm template'));
      const objects = parseObjects(stdout);
      const image = (name: string) => (containerOf(objects, name) as unknown as { image: string }).image;
      expect([built, loaded]).to.deep.equal([image('proxy'), image('proxy')]);
      const { ports } = containerOf(objects, 'kube-rbac-proxy') as unknown as { ports: { hostPort: number }[] };
      expect(ports.map(({ hostPort }) => hostPort)).to.deep.equal([mapping?.containerPort]);
      expect(all).to.include(`PACKAGES_PROXY_ADDRESSES=127.0.0.1:${String(mapping?.hostPort)}`);
      const names = objects.filter(({ kind }) => kind === 'Secret').map(({ metadata }) => metadata.name);
      expect(names).to.include(/get secret (\S+)/.exec(all)?.[1]);
    });

    it('pushes the package that it fetches', async () => {
      const registry = await PeerRegistry.start({ program: 'docker-registry', path: programs['docker-registry'] });
      try {
        const push = commandOf('crane push').replace('127.0.0.1:5000', registry.host);
        await shell(push);
        const [, digest = ''] = /fetch-package\.sh (sha256:[0-9a-f]{64})/.exec(all) ?? [];
        const { stdout } = await shell(`crane manifest ${registry.host}/deckhouse/ee@${digest}`);
        expect(stdout).to.include('"layers"');
      } finally {
        await registry.close();
      }
    });
  });
});
