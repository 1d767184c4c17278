import { expect } from 'chai';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ExecPlugin, ExecPluginError } from '../../../../src/adapters/kubernetes/exec-plugin.ts';
import { rejection } from '../../../support/rejection.ts';

describe('ExecPlugin', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'plugin-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  async function plugin(script: string, timeoutMs = 5000): Promise<ExecPlugin> {
    const command = join(folder, 'plugin');
    await writeFile(command, `#!/bin/sh\necho call >>"${folder}/calls"\n${script}\n`, { mode: 0o755 });
    const environment = { PATH: process.env['PATH'], TOKEN: 'one' };
    return new ExecPlugin({ command, args: ['--cluster', 'a'], environment, timeoutMs });
  }
  const prints = (status: object): string =>
    `cat <<'END'\n${JSON.stringify({ kind: 'ExecCredential', apiVersion: 'client.authentication.k8s.io/v1', status })}\nEND`;
  const calls = async (): Promise<number> => (await readFile(join(folder, 'calls'), 'utf8')).split('\n').length - 1;

  it('runs once for many requests, until the API server refuses the credential', async () => {
    const it = await plugin(prints({ token: 'one' }));
    const several = await Promise.all([it.credential(), it.credential()]);
    expect([...several, await it.credential()].map(({ token }) => token)).to.deep.equal(['one', 'one', 'one']);
    expect(await calls()).to.equal(1);
    it.refused();
    await it.credential();
    expect(await calls()).to.equal(2);
  });

  it('runs again when the credential has expired', async () => {
    const it = await plugin(prints({ token: 'one', expirationTimestamp: '2020-01-01T00:00:00Z' }));
    await it.credential();
    await it.credential();
    expect(await calls()).to.equal(2);
  });

  it('caches a credential until its expiry, and returns client certificates', async () => {
    const status = { clientCertificateData: 'cert', clientKeyData: 'key', expirationTimestamp: '2999-01-01T00:00:00Z' };
    const it = await plugin(prints(status));
    await it.credential();
    expect(await it.credential()).to.deep.equal({ token: undefined, clientCertificate: 'cert', clientKey: 'key' });
    expect(await calls()).to.equal(1);
  });

  it('passes arguments and environment to the plugin', async () => {
    const it = await plugin(`printf '{"status":{"token":"%s %s %s"}}' "$1" "$2" "$TOKEN"`);
    expect((await it.credential()).token).to.equal('--cluster a one');
  });

  for (const [what, script, message] of [
    ['exits with an error', "echo 'canary' >&2; echo canary; exit 3", 'ended with exit code 3'],
    ['is killed', 'kill -9 $$', 'ended with SIGKILL'],
    ['prints no JSON', 'echo canary', 'printed no ExecCredential'],
    ['prints no status', "echo '{}'", 'printed no ExecCredential'],
    ['prints without end', 'exec yes canary', 'printed more than 1 MiB'],
  ] as const) {
    it(`reports the failure when the plugin ${what}, without its output`, async () => {
      const error = await rejection((await plugin(script)).credential());
      expect(error).to.be.instanceOf(ExecPluginError);
      expect(error.message).to.equal(`credential plugin "${folder}/plugin" ${message}`);
    });
  }

  it('reports a missing program', async () => {
    const missing = new ExecPlugin({ command: join(folder, 'none'), args: [], environment: {} });
    expect((await rejection(missing.credential())).message).to.match(/could not be started: ENOENT$/);
  });

  it('kills a plugin that does not answer, together with its child processes', async () => {
    const it = await plugin(`sleep 300 & echo $! >"${folder}/child"; wait`, 200);
    expect((await rejection(it.credential())).message).to.match(/did not answer within 0\.2 s$/);
    const child = Number(await readFile(join(folder, 'child'), 'utf8'));
    expect(await stateOf(child)).to.be.oneOf(['gone', 'Z']);
  });
});

async function stateOf(pid: number): Promise<string> {
  for (let left = 100; ; left--) {
    const stat = await readFile(`/proc/${String(pid)}/stat`, 'utf8').catch(() => undefined);
    const state = stat === undefined ? 'gone' : (/\) (\w)/.exec(stat)?.[1] ?? '?');
    if (state === 'gone' || state === 'Z' || left === 0) return state;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
