import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { cp, mkdtemp, readdir, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { describeWith } from '../support/peers/binaries.ts';

const ROOT = join(import.meta.dirname, '../..');
const FOLDER = join(ROOT, '.github/workflows');
const run = promisify(execFile);

interface Workflow {
  readonly jobs: Readonly<
    Record<string, { readonly steps: readonly { readonly name?: string; readonly run?: string }[] }>
  >;
}

describeWith('actionlint', (actionlint) => {
  it('actionlint finds no fault with the workflows', async () => {
    const files = (await readdir(FOLDER)).map((name) => join(FOLDER, name));
    expect(files).to.have.length.greaterThan(1);
    const { stdout } = await run(actionlint, ['-shellcheck=', ...files]).catch(
      (error: unknown) => error as { stdout: string },
    );
    expect(stdout).to.equal('');
  });
});

describeWith('helm', (helm) => {
  describe('the workflow of a release', function () {
    this.timeout(300_000);
    let work: string;
    let version: string;
    let text: string;
    before(async () => {
      work = await mkdtemp(join(tmpdir(), 'release-'));
      text = await readFile(join(FOLDER, 'release.yaml'), 'utf8');
      ({ version } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as { version: string });
      const { stdout } = await run('git', ['ls-files', '-coz', '--exclude-standard'], { cwd: ROOT });
      for (const path of stdout.split('\0').filter(Boolean)) await cp(join(ROOT, path), join(work, path));
      await symlink(join(ROOT, 'node_modules'), join(work, 'node_modules'));
    });
    after(() => rm(work, { recursive: true, force: true }));

    /** The commands of steps that need no network, in their order. */
    function offlineSteps(): readonly { readonly name: string; readonly commands: string }[] {
      const names = [...text.matchAll(/# offline\n +- name: (.*)/g)].map(([, name = '']) => name);
      const { jobs } = parse(text) as Workflow;
      const steps = Object.values(jobs).flatMap(({ steps: some }) => some);
      return names.map((name) => ({ name, commands: steps.find((step) => step.name === name)?.run ?? 'false' }));
    }

    it('builds the packages, their checksums and the notes from the changelog', async () => {
      const steps = offlineSteps();
      expect(steps).to.have.length.greaterThan(4);
      const env = {
        ...process.env,
        GITHUB_REF_NAME: `v${version}`,
        PATH: [dirname(helm), process.env['PATH'] ?? ''].join(delimiter),
      };
      for (const { name, commands } of steps) {
        // Before a release, its changes are under another heading.
        if (name.startsWith('Copy the notes')) continue;
        await run('bash', ['-eo', 'pipefail', '-c', commands], { cwd: work, env }).catch((error: unknown) => {
          throw new Error(name, { cause: error });
        });
      }
      const release = join(work, 'release');
      expect((await readdir(release)).sort()).to.deep.equal([
        'SHA256SUMS',
        `registry-packages-proxy-${version}.spdx.json`,
        `registry-packages-proxy-${version}.tgz`,
        `registry-packages-proxy-chart-${version}.tgz`,
      ]);
      const { stdout } = await run(helm, [
        'show',
        'chart',
        join(release, `registry-packages-proxy-chart-${version}.tgz`),
      ]);
      expect(parse(stdout)).to.include({ name: 'registry-packages-proxy', version });
    });

    it('refuses a tag other than the version', async () => {
      const commands = offlineSteps()[0]?.commands ?? '';
      const env = { ...process.env, GITHUB_REF_NAME: 'v0.0.0' };
      const outcome = await run('bash', ['-eo', 'pipefail', '-c', commands], { cwd: work, env }).then(
        () => 'accepted',
        () => 'refused',
      );
      expect(outcome).to.equal('refused');
    });
  });
});
