import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const run = promisify(execFile);
const { stdout: old } = await run('/usr/bin/node', ['--version']).catch(() => ({ stdout: '' }));

describe('the package of npm', function () {
  this.timeout(180_000);
  let home: string;
  before(async () => {
    home = await mkdtemp(join(tmpdir(), 'npm-package-'));
    await run('npm', ['pack', '--pack-destination', home], { cwd: ROOT });
    const [tarball = ''] = await readdir(home);
    await writeFile(join(home, 'package.json'), '{"private":true}');
    await run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', join(home, tarball)], { cwd: home });
  });
  after(() => rm(home, { recursive: true, force: true }));

  it('runs with npx after its installation, and prints its commit', async () => {
    const { stdout } = await run('npx', ['--no-install', 'registry-packages-proxy', 'version', '--json'], {
      cwd: home,
    });
    const { stdout: head } = await run('git', ['rev-parse', 'HEAD'], { cwd: ROOT });
    const { version } = JSON.parse(await run('npm', ['pkg', 'get'], { cwd: ROOT }).then((got) => got.stdout)) as {
      version: string;
    };
    const told = JSON.parse(stdout) as { readonly version: string; readonly commit: string };
    expect(told.version).to.equal(version);
    expect(told.commit.replace('-dirty', '')).to.equal(head.trim());
  });

  it('contains its settings, and no sources', async () => {
    const { stdout } = await run('npx', ['--no-install', 'registry-packages-proxy', 'check-config', '--print'], {
      cwd: home,
    }).catch((error: unknown) => error as { stdout: string });
    expect(stdout).to.include('listenAddress: 127.0.0.1:5080');
    const files = await readdir(join(home, 'node_modules/registry-packages-proxy'));
    expect(files.sort()).to.deep.equal(['LICENSE', 'README.md', 'bin', 'config', 'dist', 'package.json']);
  });

  (/^v(20|22)\./.test(old) ? it : it.skip)(
    'hands over to the Node that it has installed from an older one',
    async () => {
      const program = join(ROOT, 'bin/registry-packages-proxy');
      const { stdout } = await run('/usr/bin/node', [program, 'version', '--json'], { cwd: home });
      expect((JSON.parse(stdout) as { readonly node: string }).node).to.match(/^2[4-6]\./);
    },
  );

  (/^v(20|22)\./.test(old) ? it : it.skip)('says what an old Node without another one needs', async () => {
    const program = join(home, 'node_modules/registry-packages-proxy/bin/registry-packages-proxy');
    await rm(join(home, 'node_modules', `node-linux-${process.arch}`), { recursive: true, force: true });
    const { stderr, code } = await run('/usr/bin/node', [program, 'version']).then(
      () => ({ stderr: '', code: 0 }),
      (error: unknown) => error as { stderr: string; code: number },
    );
    expect(code).to.equal(1);
    expect(stderr).to.include('is too old: 24.15 or newer is needed');
  });
});
