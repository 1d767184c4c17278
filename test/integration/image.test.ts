import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { chmodSync, chownSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { stringify } from 'yaml';
import { digestOf } from '../../src/domain/descriptor.ts';
import { describeWithAll } from '../support/peers/binaries.ts';
import { containerOf, renderChart, settingsOf } from '../support/peers/chart.ts';
import { PeerRegistry } from '../support/peers/peer-registry.ts';
import { obstacle, readImage, RunningImage } from '../support/peers/running-image.ts';
import { rejection } from '../support/rejection.ts';

const ROOT = join(import.meta.dirname, '../..');
const MIRROR = join(ROOT, 'examples/mirror');
const run = promisify(execFile);

/** The mount points of the chart for written files, read files and those of the kubelet. */
const SETTINGS = '/etc/registry-packages-proxy';
const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

const modeOf = (path: string): number => statSync(path).mode;

describeWithAll(['bwrap', 'crane', 'docker-registry', 'helm'], (programs) => {
  const refused = obstacle(programs.bwrap);
  if (refused !== undefined && process.env['REQUIRE_PEERS'] !== '1') {
    it.skip(refused);
    return;
  }

  describe('the image', () => {
    let home = '';
    let image: ReturnType<typeof readImage>;
    let running: RunningImage | undefined;

    before(async () => {
      if (refused !== undefined) throw new Error(refused);
      home = mkdtempSync(join(tmpdir(), 'image-'));
      // The user of the image reads this directory.
      chmodSync(home, 0o755);
      await build('built');
      image = readImage(join(home, 'built'));
    });
    afterEach(async () => {
      await running?.end();
      running = undefined;
    });
    after(() => {
      if (home !== '') rmSync(home, { recursive: true });
    });

    async function build(name: string): Promise<void> {
      await run(process.execPath, [join(ROOT, 'tools/image/main.ts'), '--output', join(home, name)]);
    }

    /** A directory of the host, for a volume of the pod. */
    function volume(files: Readonly<Record<string, string>> = {}): string {
      const directory = mkdtempSync(join(home, 'volume-'));
      const [uid = 0, gid = 0] = image.config.User.split(':').map(Number);
      for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
      chmodSync(directory, 0o755);
      if (process.getuid?.() === 0) chownSync(directory, uid, gid);
      return directory;
    }

    async function startOnMirror(cache = volume()): Promise<RunningImage> {
      const settings = stringify({
        registry: { gateway: 'oci-layout', ociLayout: { directory: '/mirror' } },
        credentials: { registries: [{ repo: 'registry.example.com/deckhouse', default: true }] },
      });
      running = await RunningImage.start({
        bubblewrap: programs.bwrap,
        image,
        args: ['--config', `${SETTINGS}/settings.yaml`],
        mounts: [
          { source: cache, target: '/cache', isWritable: true },
          { source: volume({ 'settings.yaml': settings }), target: SETTINGS },
          { source: MIRROR, target: '/mirror' },
        ],
      });
      return running;
    }

    it('serves packages and reports its state with only a loopback interface', async () => {
      const cache = volume();
      const service = await startOnMirror(cache);
      for (const path of ['/healthz', '/readyz']) {
        const { status, body } = await service.fetch(path);
        expect([status, body.toString()], path).to.deep.equal([200, 'ok']);
      }
      const index = JSON.parse(readFileSync(join(MIRROR, 'index.json'), 'utf8')) as { manifests: { digest: string }[] };
      const path = `/package?digest=${index.manifests[0]?.digest ?? ''}`;
      for (const cacheStatus of [/; fwd=miss(; stored)?$/, /; hit$/]) {
        const { status, headers, body } = await service.fetch(path);
        expect(status).to.equal(200);
        expect(headers['cache-status']).to.match(cacheStatus);
        const [, proof = ''] = /sha-256=:(.*):/.exec(headers['repr-digest'] ?? '') ?? [];
        expect(digestOf(body)).to.equal(`sha256:${Buffer.from(proof, 'base64').toString('hex')}`);
      }
      const { body } = await service.fetch('/metrics');
      expect(body.toString()).to.include(
        `registry_packages_proxy_build_info{version="0.2.0",nodejs="${process.versions.node}"} 1`,
      );
      expect((await service.fetch('/status')).status).to.equal(200);
      expect(readdirSync(join(cache, 'v1/blobs/sha256'))).to.have.lengthOf(2);
      const outside = await service.node(
        `console.log(await fetch('http://192.0.2.1').catch(({ cause }) => cause.code))`,
      );
      expect(outside).to.equal('ENETUNREACH\n');
    });

    it('runs as an unprivileged user without capabilities on a read-only root', async () => {
      const service = await startOnMirror();
      const status = await service.node(`
        import { readFileSync, writeFileSync } from 'node:fs';
        console.log(readFileSync('/proc/1/cmdline', 'utf8').split('\\0').join(' ') + readFileSync('/proc/1/status', 'utf8'));
        for (const path of ['/x', '/app/dist/start.mjs', '/tmp/x', '${SETTINGS}/settings.yaml', '/mirror/x']) {
          try { writeFileSync(path, ''); console.log(path, 'written'); } catch ({ code }) { console.log(path, code); }
        }
      `);
      const [uid, gid] = image.config.User.split(':');
      expect(status)
        .to.match(new RegExp(`^Uid:(\\s+${String(uid)}){4}$`, 'm'))
        .and.match(new RegExp(`^Gid:(\\s+${String(gid)}){4}$`, 'm'))
        .and.match(/^Cap(Eff|Prm|Bnd):\s+0+$/m)
        .and.match(/^NoNewPrivs:\s+1$/m)
        .and.include(image.config.Entrypoint.join(' '));
      expect(status.match(/ EROFS$/gm)).to.have.lengthOf(5);
    });

    it('stops cleanly after SIGTERM although it is process 1', async () => {
      const service = await startOnMirror();
      expect(await service.end('SIGTERM')).to.equal(0);
      expect(service.output).to.include('"msg":"stopping"').and.to.include('"msg":"stopped"');
    });

    it('uses the compile cache of its Node', async () => {
      const service = await startOnMirror();
      // It ends as soon as all is loaded.
      const program = `
        import { script } from '/app/dist/start.mjs';
        process.once('exit', () => console.error(script.cachedDataRejected));
      `;
      const ended = await rejection(service.node(program, 'start', '--log-level', 'loud'));
      expect((ended as Error & { stderr: string }).stderr).to.match(/^--log-level: .*\nfalse\n$/);
    });

    it('starts with the arguments and files of the chart, and waits for an API server', async () => {
      const objects = await renderChart(programs.helm);
      running = await RunningImage.start({
        bubblewrap: programs.bwrap,
        image,
        args: containerOf(objects, 'proxy').args,
        environment: { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: '6443' },
        mounts: [
          { source: volume(), target: '/cache', isWritable: true },
          { source: volume({ 'settings.yaml': settingsOf(objects) }), target: SETTINGS },
          { source: volume({ token: 'canary', namespace: 'x', 'ca.crt': '' }), target: SERVICE_ACCOUNT },
        ],
      });
      expect((await running.fetch('/healthz')).status).to.equal(200);
      const { status, body } = await running.fetch('/readyz');
      expect([status, body.toString()]).to.deep.equal([503, 'not listed yet: modulesources, secrets\n']);
      expect(running.output).not.to.include('canary');
    });

    it('contains no program except Node, and no file that its user can write', () => {
      const entries = readdirSync(image.root, { recursive: true, withFileTypes: true });
      const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
      const programsInside = paths.filter((path) => (modeOf(path) & 0o111) !== 0 && !/\.so[.\d]*$/.test(path));
      expect(programsInside).to.deep.equal([join(image.root, 'nodejs/bin/node')]);
      expect(paths.filter((path) => (modeOf(path) & 0o6022) !== 0)).to.deep.equal([]);
      expect(paths).to.include(join(image.root, 'app/dist/sbom.spdx.json'));
    });

    it('is accepted by registries and their tools, and has the same bytes when it is built again', async function () {
      this.timeout(240_000);
      const registry = await PeerRegistry.start({ program: 'docker-registry', path: programs['docker-registry'] });
      const name = `${registry.host}/registry-packages-proxy:0.2.0`;
      await run(programs.crane, ['push', join(home, 'built/layout'), name]);
      await run(programs.crane, ['validate', '--remote', name]);
      const { stdout: config } = await run(programs.crane, ['config', name]);
      expect(JSON.parse(config)).to.deep.include({ config: image.config, os: 'linux' });
      await registry.close();
      await build('again');
      expect(readImage(join(home, 'again')).digest).to.equal(image.digest);
    });
  });
});
