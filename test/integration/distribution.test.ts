import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { bytesOf } from '../support/image.ts';
import { describeWithAll } from '../support/peers/binaries.ts';
import { Containerd } from '../support/peers/containerd.ts';
import { PeerRegistry } from '../support/peers/peer-registry.ts';
import { ServiceProcess } from '../support/service-process.ts';

const run = promisify(execFile);

/** The pull category of the suite. */
const PULLS = [
  'Ping',
  'Blob get',
  'Blob get range',
  'Blob head',
  'Manifest get by digest',
  'Manifest get by tag',
  'Manifest head by digest',
  'Manifest head by tag',
];
const PULL = /^\/v2\/(?:.+\/(?:manifests|blobs)\/[^/]+)?$/;

/** A front that sends reads to one port and writes to another, because the suite supports only one registry. */
async function splitFront(reads: number, writes: number): Promise<Server> {
  const front = createServer((asked, answer) => {
    const { method = '', url = '', headers } = asked;
    const isRead = (method === 'GET' || method === 'HEAD') && PULL.test(url.split('?', 1)[0] ?? '');
    const onward = request(
      { port: isRead ? reads : writes, host: '127.0.0.1', method, path: url, headers },
      (found) => {
        answer.writeHead(found.statusCode ?? 502, found.headers);
        found.pipe(answer);
      },
    );
    onward.once('error', () => answer.destroy());
    asked.pipe(onward);
  });
  await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve));
  return front;
}

async function closeServer(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
}

describeWithAll(
  ['distribution-registry', 'crane', 'oci-conformance', 'containerd', 'ctr'],
  ({ 'distribution-registry': path, crane, 'oci-conformance': conformance, containerd, ctr }) => {
    describe('the read-only /v2/ before a real registry', function () {
      this.timeout(120_000);
      let registry: PeerRegistry;
      let service: ServiceProcess;
      let home: string;
      before(async () => {
        home = await mkdtemp(join(tmpdir(), 'distribution-'));
        registry = await PeerRegistry.start({ program: 'distribution-registry', path });
        const registries = ['deckhouse/ee', 'conformance'].map((repository, index) => ({
          repo: `${registry.host}/${repository}`,
          default: index === 0,
          scheme: 'HTTP',
        }));
        service = await ServiceProcess.start({
          settings: { credentials: { registries }, server: { distribution: { enabled: true } } },
        });
      });
      after(async () => {
        await service.close();
        await registry.close();
        await rm(home, { recursive: true });
      });

      const craned = async (...args: string[]): Promise<string> => {
        const { stdout, stderr } = await run(crane, ['--insecure', ...args], { env: { ...process.env, HOME: home } });
        return `${stdout}${stderr}`.trim();
      };
      const address = (): string => `127.0.0.1:${String(service.port)}`;

      /** An image whose layer can be unpacked; resolves with its digest. */
      async function publish(tag: string, seed: number): Promise<string> {
        const content = join(home, tag);
        await writeFile(content, bytesOf(300_000, seed));
        await run('tar', ['-czf', `${content}.tar.gz`, '-C', home, tag]);
        const target = `${registry.repo}/image:${tag}`;
        await craned('append', '--oci-empty-base', '--new_layer', `${content}.tar.gz`, '--new_tag', target);
        return craned('digest', target);
      }

      const blobsFetched = (): number =>
        registry.accessLog.filter(({ method, url }) => method === 'GET' && url.includes('/image/blobs/')).length;

      it('passes the pull category of the conformance suite of the specification', async () => {
        const port = Number(registry.host.split(':')[1]);
        const front = await splitFront(service.port, port);
        const env = {
          ...process.env,
          OCI_REGISTRY: `127.0.0.1:${String((front.address() as AddressInfo).port)}`,
          OCI_TLS: 'disabled',
          OCI_RESULTS_DIR: join(home, 'results'),
          OCI_REPO1: 'conformance/one',
          OCI_REPO2: 'conformance/two',
          OCI_LOG: 'error',
          // This skips pushes that this registry does differently, and parts other than pulls.
          OCI_API_BLOBS_DELETE: 'false',
          OCI_API_MANIFESTS_DELETE: 'false',
          OCI_API_TAGS_DELETE: 'false',
          OCI_API_TAGS_LIST: 'false',
          OCI_API_REFERRER: 'false',
          OCI_DATA_NONDISTRIBUTABLE: 'false',
          OCI_DATA_SHA512: 'false',
          OCI_API_BLOBS_DIGEST_HEADER: 'true',
          OCI_API_MANIFESTS_DIGEST_HEADER: 'true',
        };
        // The suite fails for two kinds of pushes, which belong to the registry.
        const { stdout } = await run(conformance, [], { env, maxBuffer: 64 << 20 }).catch(
          (error: unknown) => error as { stdout: string },
        );
        await closeServer(front);
        const results = Object.fromEntries(
          [...stdout.matchAll(/^ {2}([A-Z][\w +-]*?)\.+: +(\w+)$/gm)].map(([, name = '', result]) => [name, result]),
        );
        expect(Object.fromEntries(PULLS.map((name) => [name, results[name]]))).to.deep.equal(
          Object.fromEntries(PULLS.map((name) => [name, 'Pass'])),
        );
      });

      it('is a registry for crane, which validates an image by its digest and by its tag', async () => {
        const digest = await publish('craned', 1);
        const before = blobsFetched();
        for (const reference of [`@${digest}`, ':craned', `@${digest}`]) {
          const image = `${address()}/deckhouse/ee/image${reference}`;
          expect(await craned('validate', '--remote', image)).to.include('PASS');
        }
        await craned('pull', '--format', 'oci', `${address()}/deckhouse/ee/image@${digest}`, join(home, 'pulled'));
        const layout = await readFile(join(home, 'pulled/index.json'), 'utf8');
        expect(layout).to.include(digest);
        // One request each for the layer and the config.
        expect(blobsFetched() - before).to.equal(2);
        const refusal = await craned('ls', `${address()}/deckhouse/ee/image`).catch((error: unknown) => String(error));
        expect(refusal).to.include('UNSUPPORTED');
      });

      it('is a mirror for containerd, which sends no request to the origin', async function () {
        if (process.getuid?.() !== 0) this.skip();
        const digest = await publish('contained', 2);
        const folder = join(home, 'containerd');
        const hosts = join(folder, 'hosts', `${registry.host.replace(':', '_')}_`);
        await mkdir(hosts, { recursive: true });
        await writeFile(
          join(hosts, 'hosts.toml'),
          `server = "http://127.0.0.1:1"\n[host."http://${address()}"]\n  capabilities = ["pull", "resolve"]\n`,
        );
        const runtime = await Containerd.start({ containerd, ctr }, folder);
        try {
          const pull = ['images', 'pull', '--hosts-dir', join(folder, 'hosts'), '--snapshotter', 'native'];
          for (const reference of [':contained', `@${digest}`]) {
            expect(await runtime.ask(...pull, `${registry.repo}/image${reference}`)).to.include('done');
          }
          expect(await runtime.ask('images', 'check', '--snapshotter', 'native')).to.match(
            /contained .* complete \(2\/2\)/,
          );
        } finally {
          await runtime.end();
        }
        const seen = service.lines.filter(({ path: below }) => below === 'image');
        expect(seen.every(({ status }) => status === 200)).to.equal(true);
      });
    });
  },
);
