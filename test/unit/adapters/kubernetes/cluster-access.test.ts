import { RequestContext, HttpMethod } from '@kubernetes/client-node';
import { expect } from 'chai';
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ClusterAccess, openClusterAccess } from '../../../../src/adapters/kubernetes/cluster-access.ts';
import { rejection } from '../../../support/rejection.ts';

describe('openClusterAccess', () => {
  let folder: string;
  let file: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'kubeconfig-'));
    file = join(folder, 'kubeconfig');
  });
  afterEach(() => rm(folder, { recursive: true }));

  const kubeconfig = (user: object, server = 'https://api.example:6443'): string =>
    JSON.stringify({
      clusters: [{ name: 'c', cluster: { server } }],
      users: [{ name: 'u', user }],
      contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
      'current-context': 'x',
    });
  async function sent(access: ClusterAccess): Promise<string | undefined> {
    const request = new RequestContext('https://api.example:6443/api', HttpMethod.GET);
    await (await access.config()).applySecurityAuthentication(request);
    return request.getHeaders()['Authorization'];
  }
  /** Replaces a file atomically, as kubelet and kubectl do. */
  async function replace(path: string, text: string): Promise<void> {
    await writeFile(`${path}.new`, text);
    await rename(`${path}.new`, path);
  }

  it('sends the token of "tokenFile", which is relative to the kubeconfig and read for each request', async () => {
    await writeFile(join(folder, 'token'), 'one\n');
    await writeFile(file, kubeconfig({ tokenFile: 'token', token: 'stale' }));
    const access = openClusterAccess(file, {});
    expect(await sent(access)).to.equal('Bearer one');
    await replace(join(folder, 'token'), 'two');
    expect(await sent(access)).to.equal('Bearer two');
  });

  it('reads a changed kubeconfig, and recovers when it can be read again', async () => {
    await writeFile(file, kubeconfig({ token: 'one' }));
    const access = openClusterAccess(file, {});
    expect(await sent(access)).to.equal('Bearer one');
    await replace(file, '{"clusters"');
    await rejection(access.config());
    await replace(file, kubeconfig({ token: 'two' }, 'https://other.example'));
    expect(await sent(access)).to.equal('Bearer two');
    expect((await access.config()).getCurrentCluster()?.server).to.equal('https://other.example');
  });

  it('runs a credential plugin relative to the kubeconfig, with its configured environment, and again after a 401', async () => {
    await mkdir(join(folder, 'bin'));
    const script = `#!/bin/sh\nprintf '{"status":{"token":"%s-%s"}}' "$PREFIX" "$(cat "${folder}/secret")"\n`;
    await writeFile(join(folder, 'bin/plugin'), script, { mode: 0o755 });
    await writeFile(join(folder, 'secret'), 'one');
    const exec = {
      apiVersion: 'client.authentication.k8s.io/v1',
      command: './bin/plugin',
      env: [{ name: 'PREFIX', value: 'p' }],
    };
    await writeFile(file, kubeconfig({ exec }));
    const access = openClusterAccess(file, { PATH: process.env['PATH'] });
    expect(await sent(access)).to.equal('Bearer p-one');
    await writeFile(join(folder, 'secret'), 'two');
    expect(await sent(access)).to.equal('Bearer p-one');
    access.refused();
    expect(await sent(access)).to.equal('Bearer p-two');
  });

  for (const server of ['https://api.example:6443/', 'https://api.example:6443//']) {
    it(`removes the final slashes of the server ${server}`, async () => {
      await writeFile(file, kubeconfig({ token: 't' }, server));
      const config = await openClusterAccess(file, {}).config();
      expect(config.getCurrentCluster()?.server).to.equal('https://api.example:6443');
    });
  }

  it('rejects at once if a kubeconfig has no server or cannot be read', async () => {
    await writeFile(file, '{}');
    expect(() => openClusterAccess(file, {})).to.throw(`${file}: the current context has no server`);
    expect(() => openClusterAccess(join(folder, 'none'), {})).to.throw('ENOENT');
  });
});
