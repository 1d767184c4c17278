import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describeWith } from '../support/peers/binaries.ts';

const ROOT = join(import.meta.dirname, '../..');
const run = promisify(execFile);

describeWith('shellcheck', (path) => {
  for (const script of [
    'examples/fetch-package.sh',
    'examples/bootstrap.sh',
    'examples/cloud-init.sh',
    'tools/peers.sh',
    'tools/schemathesis.sh',
    '.ci/run',
  ]) {
    it(`shellcheck finds no fault with ${script}`, async () => {
      const { stdout } = await run(path, [join(ROOT, script)]).catch((error: unknown) => error as { stdout: string });
      expect(stdout).to.equal('');
    });
  }
});
