import { expect } from 'chai';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { FakeRegistry, PASSWORD, USERNAME } from '../support/fake-registry.ts';
import { makePackage } from '../support/image.ts';
import { type Ended, Program, runProgram } from '../support/program.ts';
import { findCanary, ServiceProcess } from '../support/service-process.ts';

const MIB = 1024 * 1024;

const inUse = (directory: string): string =>
  `${directory} is in use by another process: a service, or prefetch without --url\n`;

describe('prefetch', function () {
  // Each test starts the program, which is slow on a machine under load.
  this.timeout(60_000);
  const images = [makePackage(2 * MIB), makePackage(3 * MIB, 2)];
  let registry: FakeRegistry;
  let directory: string;
  let packages: string;
  let settings: object;
  beforeEach(async () => {
    registry = await FakeRegistry.start({ auth: 'basic' });
    registry.publish(...images);
    directory = await mkdtemp(join(tmpdir(), 'prefetch-'));
    packages = join(directory, 'packages.txt');
    const repo = `${registry.host}/deckhouse/ee`;
    settings = {
      credentials: { registries: [{ repo, default: true, scheme: 'HTTP', username: USERNAME, password: PASSWORD }] },
    };
    await writeFile(packages, images.map(({ digest }) => `${digest}\n`).join(''));
  });
  afterEach(async () => {
    await registry.close();
    await rm(directory, { recursive: true });
  });

  const prefetch = async (...flags: readonly string[]): Promise<Ended> => {
    const end = await new Program(['prefetch', '--list', packages, ...flags]).end();
    expect(findCanary(end.stdout + end.stderr)).to.equal(undefined);
    return end;
  };
  const write = async (more: object): Promise<string> => {
    const path = join(directory, 'my.yaml');
    await writeFile(path, stringify({ ...settings, ...more }));
    return path;
  };

  it('lets a running service fetch the packages that are not cached', async () => {
    const service = await ServiceProcess.start({ settings });
    const url = `http://127.0.0.1:${String(service.port)}`;
    for (const done of ['2 of 2 packages fetched, 0 were there', '0 of 2 packages fetched, 2 were there']) {
      const { code, stdout } = await prefetch('--url', url);
      expect({ code, stdout }).to.deep.equal({ code: 0, stdout: `${url}: ${done}, 5.0 MiB in all\n` });
    }
    await registry.close();
    for (const { digest } of images) {
      const { headers } = await service.client(`package?digest=${digest}`);
      expect(headers['cache-status']).to.include('hit');
    }
    await service.close();
    registry = await FakeRegistry.start();
  });

  it('reports the packages that a service cannot fetch, and the answers of the service', async () => {
    const absent = makePackage(1, 3).digest;
    await writeFile(packages, `${absent}\n${images[0]?.digest ?? ''} - modules\n`);
    const service = await ServiceProcess.start({ settings });
    const url = `http://127.0.0.1:${String(service.port)}`;
    const { code, stdout, stderr } = await prefetch('--url', url);
    expect({ code, stdout }).to.deep.equal({
      code: 2,
      stdout: `${url}: 1 of 2 packages fetched, 0 were there, 2.0 MiB in all\n`,
    });
    expect(stderr).to.include(`${packages}:1: ${absent}: 404 package not found\n`);
    await service.close();
  });

  it('fills a cache from which a service delivers packages that no registry has any more', async () => {
    const service = await ServiceProcess.start({ settings });
    await service.end();
    const config = await write({ store: { directory: service.cacheDirectory } });
    const { code, stdout } = await prefetch('--config', config);
    expect({ code, stdout }).to.deep.equal({
      code: 0,
      stdout: `${service.cacheDirectory}: 2 of 2 packages fetched, 0 were there, 5.0 MiB in all\n`,
    });
    await registry.close();
    const again = await service.restart({ settings });
    for (const { digest } of images) {
      const { headers } = await again.client(`package?digest=${digest}`);
      expect(headers['cache-status']).to.include('hit');
    }
    await again.close();
    registry = await FakeRegistry.start();
  });

  it('does not change the cache of a running service, independent of its address', async () => {
    const service = await ServiceProcess.start({ settings });
    const arriving = join(service.cacheDirectory, 'v1/ingest/arriving');
    await writeFile(arriving, '');
    const config = await write({ store: { directory: service.cacheDirectory } });
    const { code, stderr } = await prefetch('--config', config);
    expect({ code, stderr }).to.deep.equal({ code: 1, stderr: inUse(service.cacheDirectory) });
    expect(await readFile(arriving, 'utf8')).to.equal('');
    expect(await readdir(join(service.cacheDirectory, 'v1'))).to.have.members(['.lock', 'blobs', 'ingest']);
    await service.close();
  });

  it('locks its cache against a second process and a service until it ends', async () => {
    const cache = join(directory, 'cache');
    const config = await write({ store: { directory: cache } });
    const asked = Promise.withResolvers<undefined>();
    let isSilent = true;
    registry.script(() => {
      asked.resolve(undefined);
      return isSilent;
    });
    const first = new Program(['prefetch', '--list', packages, '--config', config]);
    await asked.promise;
    expect(await prefetch('--config', config)).to.deep.include({ code: 1, stderr: inUse(cache) });
    const serve = await runProgram('serve', '--config', config, '--listen-address', '127.0.0.1:0');
    expect(serve.code).to.equal(1);
    expect(JSON.parse(serve.stdout))
      .to.deep.include({ msg: 'cannot start' })
      .and.to.have.nested.property('err.message', inUse(cache).trimEnd());
    first.signal('SIGKILL');
    await first.end();
    isSilent = false;
    expect(await prefetch('--config', config)).to.include({ code: 0 });
  });

  it('reports the evicted packages if the cache is too small for all', async () => {
    const config = await write({});
    const cache = join(directory, 'cache');
    const flags = ['--config', config, '--cache-directory', cache, '--cache-retention-size', '4Mi'];
    const { code, stderr } = await prefetch(...flags);
    expect(code).to.equal(2);
    expect(stderr).to.match(/: sha256:[0-9a-f]{64}: (is not in the cache any more|no room in the local store)/);
  });
});
