import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { stringify } from 'yaml';
import { bytesOf } from '../support/image.ts';
import { describeWithAll } from '../support/peers/binaries.ts';
import { Containerd } from '../support/peers/containerd.ts';
import { PeerRegistry } from '../support/peers/peer-registry.ts';
import { type Ended, runProgram } from '../support/program.ts';

const run = promisify(execFile);

describeWithAll(
  ['docker-registry', 'crane', 'containerd', 'ctr'],
  ({ 'docker-registry': registry, crane: path, ...runtime }) => {
    describe('a mirror of an image pushed by crane', function () {
      this.timeout(60_000);
      let directory: string;
      let [outside, inside]: PeerRegistry[] = [];
      beforeEach(async () => {
        directory = await mkdtemp(join(tmpdir(), 'mirror-'));
        outside = await PeerRegistry.start({ program: 'docker-registry', path: registry });
        inside = await PeerRegistry.start({ program: 'docker-registry', path: registry });
      });
      afterEach(async () => {
        await outside?.close();
        await inside?.close();
        await rm(directory, { recursive: true });
      });

      const crane = async (...args: string[]): Promise<string> => {
        const { stdout } = await run(path, args, { env: { ...process.env, HOME: directory } });
        return stdout.trim();
      };

      it('is a valid layout for crane, which pushes it into another registry and validates it there', async () => {
        const [from, to] = [outside?.repo ?? '', inside?.repo ?? ''];
        const digests: string[] = [];
        for (const [seed, type] of [
          [1, 'application/vnd.oci.image.layer.v1.tar+gzip'],
          [2, 'application/vnd.docker.image.rootfs.diff.tar.gzip'],
        ] as const) {
          const content = join(directory, `content-${String(seed)}`);
          await writeFile(content, bytesOf(300_000, seed));
          await run('tar', ['-czf', `${content}.tar.gz`, '-C', directory, `content-${String(seed)}`]);
          const oci = type.includes('oci') ? ['--oci-empty-base'] : [];
          await crane('append', ...oci, '--new_layer', `${content}.tar.gz`, '--new_tag', `${from}:v${String(seed)}`);
          digests.push(await crane('digest', `${from}:v${String(seed)}`));
        }
        const [list, settings, output] = ['list', 'my.yaml', 'mirror'].map((name) => join(directory, name)) as [
          string,
          string,
          string,
        ];
        await writeFile(list, `${digests.join('\n')}\n`);
        await writeFile(
          settings,
          stringify({ credentials: { registries: [{ repo: from, default: true, scheme: 'HTTP' }] } }),
        );
        const { code, stderr } = await runProgram('mirror', '--config', settings, '--list', list, '--output', output);
        expect(code, stderr).to.equal(0);
        await crane('push', '--index', output, `${to}:all`);
        for (const digest of digests) {
          expect(await crane('validate', '--remote', `${to}@${digest}`)).to.include('PASS');
        }
        expect((await runProgram('verify', output)).code).to.equal(0);
      });

      it('has the digests of the registry if its source is an archive exported by containerd', async function () {
        if (process.getuid?.() !== 0) this.skip();
        const [from, output, archive] = [outside?.repo ?? '', join(directory, 'mirror'), join(directory, 'images.tar')];
        const manifests: string[] = [];
        for (const [seed, platform] of ['linux/amd64', 'linux/arm64'].entries()) {
          await writeFile(join(directory, 'content'), bytesOf(300_000, seed + 1));
          await run('tar', ['-czf', join(directory, 'layer.tar.gz'), '-C', directory, 'content']);
          const [layer, tag] = [join(directory, 'layer.tar.gz'), `${from}:v${String(seed)}`];
          await crane('append', '--oci-empty-base', '--new_layer', layer, '--new_tag', tag);
          await crane('mutate', '--set-platform', platform, tag, '--tag', tag);
          manifests.push('--manifest', tag);
        }
        await crane('index', 'append', ...manifests, '--tag', `${from}:all`);
        const digest = await crane('digest', `${from}:all`);
        const containerd = await Containerd.start(runtime, join(directory, 'containerd'));
        try {
          const pull = ['images', 'pull', '--plain-http', '--snapshotter', 'native', '--platform', 'linux/amd64'];
          await containerd.ask(...pull, `${from}:all`);
          await containerd.ask('images', 'export', '--platform', 'linux/amd64', archive, `${from}:all`);
        } finally {
          await containerd.end();
        }
        const mirrored = await runProgram('mirror', '--from', archive, '--output', output);
        expect(mirrored.code, mirrored.stderr).to.equal(0);
        expect(mirrored.stdout).to.include(`\n${digest}  ${from}:all\n`);
        expect((await runProgram('verify', output)).code).to.equal(0);
      });

      it('is made from the archives of an image pulled by crane', async () => {
        const [from, to] = [outside?.repo ?? '', inside?.repo ?? ''];
        const output = join(directory, 'mirror');
        await writeFile(join(directory, 'content'), bytesOf(300_000));
        await run('tar', ['-czf', join(directory, 'layer.tar.gz'), '-C', directory, 'content']);
        await crane('append', '--new_layer', join(directory, 'layer.tar.gz'), '--new_tag', `${from}:v1`);
        const digest = await crane('digest', `${from}:v1`);
        const pull = async (format: string): Promise<Ended> => {
          const archive = join(directory, format);
          await crane('pull', `--format=${format}`, `${from}:v1`, archive);
          if (format === 'oci') await run('tar', ['-cf', `${archive}.tar`, '-C', archive, '.']);
          return runProgram('mirror', '--from', format === 'oci' ? `${archive}.tar` : archive, '--output', output);
        };
        const layout = await pull('oci');
        expect(layout.code, layout.stderr).to.equal(0);
        expect(layout.stdout).to.include(`\n${digest}`);
        const saved = await pull('legacy');
        expect(saved.code, saved.stderr).to.equal(0);
        expect(saved.stdout).to.include(`  ${from}:v1\n`).and.not.to.include(digest);
        expect((await pull('tarball')).stderr).to.match(/is compressed in the archive/);
        await crane('push', '--index', output, `${to}:all`);
        expect(await crane('validate', '--remote', `${to}@${digest}`)).to.include('PASS');
        // Without --fast crane takes each layer for gzip, and those of this archive are not compressed.
        const own = /sha256:\S+/.exec(saved.stdout)?.[0] ?? '';
        expect(await crane('validate', '--fast', '--remote', `${to}@${own}`)).to.include('PASS');
        expect((await runProgram('verify', output)).code).to.equal(0);
      });
    });
  },
);
