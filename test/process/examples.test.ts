import { expect } from 'chai';
import { execFile, spawnSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { FakeRegistry, PASSWORD, USERNAME } from '../support/fake-registry.ts';
import { makePackage } from '../support/image.ts';
import { rejection } from '../support/rejection.ts';
import { ServiceProcess } from '../support/service-process.ts';

const ROOT = join(import.meta.dirname, '../..');
const FETCH = join(ROOT, 'examples/fetch-package.sh');
const run = promisify(execFile);
const curl = spawnSync('curl', ['--version']).status === 0 ? it : it.skip;

describe('the demo', () => {
  curl('prints a line that fetches a package', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'demo-'));
    const demo = await ServiceProcess.start({
      settings: {
        store: { directory: join(directory, 'cache') },
        registry: { gateway: 'oci-layout', ociLayout: { directory: join(ROOT, 'examples/mirror') } },
        credentials: { registries: [{ repo: 'registry.example.com/deckhouse', default: true }] },
      },
    });
    const line = await demo.printed(/curl -fsS '.*' -o package\.tar\.gz/);
    await run('sh', ['-c', line], { cwd: directory });
    const { stdout } = await run('tar', ['-tzf', join(directory, 'package.tar.gz')]);
    expect(stdout).to.equal('install\nREADME\n');
    await demo.close();
    await rm(directory, { recursive: true });
  });
});

describe('examples/fetch-package.sh', () => {
  const image = makePackage(300_000);
  let registry: FakeRegistry;
  let service: ServiceProcess;
  let directory: string;
  beforeEach(async () => {
    registry = await FakeRegistry.start({ auth: 'basic' });
    registry.publish(image);
    directory = await mkdtemp(join(tmpdir(), 'fetch-'));
    const repo = `${registry.host}/deckhouse/ee`;
    service = await ServiceProcess.start({
      settings: {
        credentials: { registries: [{ repo, default: true, scheme: 'HTTP', username: USERNAME, password: PASSWORD }] },
      },
    });
  });
  afterEach(async () => {
    await service.close();
    await registry.close();
    await rm(directory, { recursive: true });
  });

  const fetchPackage = (digest: string, ...more: string[]) =>
    run(FETCH, [digest, join(directory, 'package'), ...more], {
      env: {
        ...process.env,
        PACKAGES_PROXY_ADDRESSES: `127.0.0.1:1,127.0.0.1:${String(service.port)}`,
        PACKAGES_PROXY_ATTEMPTS: '2',
        PACKAGES_PROXY_PAUSE: '0',
        PACKAGES_PROXY_TOKEN: 'of-a-node',
      },
    });

  curl('fetches a package from the proxy that answers', async () => {
    await fetchPackage(image.digest, `${registry.host}/deckhouse/ee`, '');
    expect(Buffer.compare(await readFile(join(directory, 'package')), image.layer.bytes)).to.equal(0);
    expect(await readdir(directory)).to.deep.equal(['package']);
  });

  curl('tries again after a failure that may pass', async () => {
    registry.failTimes('/manifests/', ...Array.from({ length: 3 }, () => ({ status: 500 })));
    await fetchPackage(image.digest);
    expect(Buffer.compare(await readFile(join(directory, 'package')), image.layer.bytes)).to.equal(0);
  });

  curl('gives up at once on what does not exist, and leaves nothing', async () => {
    const error = await rejection(fetchPackage(makePackage(1, 2).digest));
    expect(error).to.have.property('stderr').that.includes('404 package not found');
    expect(registry.requests('/manifests/').length).to.be.at.most(2);
    expect(await readdir(directory)).to.deep.equal([]);
  });
});
