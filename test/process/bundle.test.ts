import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { cp, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { FakeRegistry } from '../support/fake-registry.ts';
import { makePackage } from '../support/image.ts';
import { ServiceProcess } from '../support/service-process.ts';

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

  it('fetches, proves and keeps a package where there is no node_modules', async () => {
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
    await service.close();
    await registry.close();
  });

  it('brings what V8 compiled of it', async () => {
    expect(await readdir(join(place, 'dist/compile-cache'))).to.have.lengthOf(1);
  });
});
