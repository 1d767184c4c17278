import { expect } from 'chai';
import { execFile, spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ServiceProcess } from '../support/service-process.ts';

const ROOT = join(import.meta.dirname, '../..');
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
