import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { cp, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { COMMANDS } from '../../src/infrastructure/commands/table.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { makePackage } from '../support/image.ts';
import { rejection } from '../support/rejection.ts';
import { ServiceProcess } from '../support/service-process.ts';
import type { Sbom } from '../../tools/sbom.ts';

const ROOT = join(import.meta.dirname, '../..');
const run = promisify(execFile);

describe('the bundle', () => {
  let place: string;
  before(async function () {
    this.timeout(60_000);
    await run(process.execPath, [join(ROOT, 'tools/build.ts')]);
    place = await mkdtemp(join(tmpdir(), 'bundle-'));
    for (const part of ['dist', 'config', 'package.json']) {
      await cp(join(ROOT, part), join(place, part), { recursive: true });
    }
  });
  after(() => rm(place, { recursive: true }));

  it('fetches, verifies and caches a package without node_modules', async () => {
    const image = makePackage(1024 * 1024);
    const registry = await FakeRegistry.start();
    registry.publish(image);
    const repo = `${registry.host}/deckhouse/ee`;
    const service = await ServiceProcess.start({
      main: join(place, 'dist/start.mjs'),
      settings: { credentials: { registries: [{ repo, default: true, scheme: 'HTTP' }] } },
    });
    for (const status of ['fwd=miss; stored', 'hit']) {
      const { body, headers } = await service.client(`package?digest=${image.digest}`, { responseType: 'buffer' });
      expect(headers['cache-status']).to.equal(`registry-packages-proxy; ${status}`);
      expect(Buffer.compare(body, image.layer.bytes)).to.equal(0);
    }
    const page = await service.client('status').text();
    expect(page).to.include(image.digest).and.include('prefers-reduced-motion').and.include('visibilitychange');
    await service.close();
    await registry.close();
  });

  it('contains the compile cache of V8, which any user can use in any directory', async () => {
    const start = join(place, 'dist/start.mjs');
    const isRefused = async (...flags: string[]): Promise<string> => {
      // It ends as soon as all is loaded.
      const program = `import { script } from ${JSON.stringify(start)};
        process.once('exit', () => console.error(script.cachedDataRejected));`;
      const args = [...flags, '--input-type=module', '-e', program, 'start', '--log-level', 'loud'];
      const { stderr } = (await rejection(run(process.execPath, args))) as Error & { stderr: string };
      return stderr;
    };
    expect(await isRefused()).to.match(/^--log-level: .*\nfalse\n$/);
    // The cache is of no use to another V8 either.
    expect(await isRefused('--no-opt')).to.match(/\ntrue\n$/);
  });

  it('contains the media types once, and no models of Kubernetes objects that the service does not use', async () => {
    const script = await readFile(join(place, 'dist/program.cjs'), 'utf8');
    expect(script.split('"application/andrew-inset"')).to.have.lengthOf(2);
    expect(script).to.include('KubeConfig').and.not.include('V1PodSpec');
  });

  it('has every command', async () => {
    const start = join(place, 'dist/start.mjs');
    for (const { name } of COMMANDS) {
      const { stdout } = await run(process.execPath, [start, 'help', name]);
      expect(stdout, name).to.match(/^Usage: registry-packages-proxy /);
    }
    const { stdout } = await run(process.execPath, [start, 'verify', join(ROOT, 'examples/mirror')]);
    expect(stdout).to.match(/, all sound\n$/);
  });

  it('lists exactly the run-time dependencies, each with its name and version', async () => {
    const { packages: locked } = JSON.parse(await readFile(join(ROOT, 'package-lock.json'), 'utf8')) as {
      packages: Record<string, { version: string; dependencies?: object; peerDependencies?: object }>;
    };
    const wanted = new Set<string>();
    // Node searches for packages in the folder of the importing file, then in its parents.
    const visit = (path: string): void => {
      const { dependencies = {}, peerDependencies = {} } = locked[path] ?? {};
      for (const name of Object.keys({ ...dependencies, ...peerDependencies })) {
        const folders = path
          .split(/(?=\/node_modules\/)/)
          .map((_, depth, all) => all.slice(0, all.length - depth).join(''));
        const found = [...folders, ''].map((folder) => join(folder, 'node_modules', name)).find((at) => at in locked);
        if (found === undefined || wanted.has(found)) continue;
        wanted.add(found);
        visit(found);
      }
    };
    visit('');
    const nameOf = (path: string): string => path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
    const expected = new Set([...wanted].map((path) => `${nameOf(path)}@${locked[path]?.version ?? ''}`));
    const sbom = JSON.parse(await readFile(join(place, 'dist/sbom.spdx.json'), 'utf8')) as Sbom;
    const [project, ...parts] = sbom.packages.map(({ name, versionInfo }) => `${name}@${versionInfo}`);
    expect(project).to.match(/^registry-packages-proxy@\d+\.\d+\.\d+$/);
    expect(parts.sort()).to.deep.equal([...expected].sort());
    expect(parts.length).to.be.greaterThan(100);
  });

  it('has the same bytes when it is built again', async function () {
    this.timeout(60_000);
    await run(process.execPath, [join(ROOT, 'tools/build.ts')]);
    const names = await readdir(join(ROOT, 'dist'));
    expect(names)
      .to.include('program.code-cache')
      .and.to.deep.equal(await readdir(join(place, 'dist')));
    for (const name of names) {
      const [again, before] = await Promise.all([ROOT, place].map((folder) => readFile(join(folder, 'dist', name))));
      expect(again?.equals(before ?? again.subarray(1)), name).to.equal(true);
    }
  });

  it('keeps the names of error classes from the sources', async () => {
    const service = await ServiceProcess.start({ main: join(place, 'dist/start.mjs') });
    await service.client(`package?digest=${makePackage(1).digest}`);
    const { err } = await service.logged('request', { status: 404 });
    expect(err).to.deep.include({ type: 'RepositoryUnknownError', code: 'NAME_UNKNOWN' });
    await service.close();
  });
});
