/** The /metrics of a running service after requests that give each metric all of its labels. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from './eventually.ts';
import { FakeKubeApi } from './fake-kube-api.ts';
import { FakeRegistry } from './fake-registry.ts';
import { makePackage } from './image.ts';
import { ServiceProcess } from './service-process.ts';
import { makeKeyPair } from './signing.ts';

const CERTIFICATE = join(import.meta.dirname, 'tls/localhost.pem');

export async function exposedMetrics(): Promise<string> {
  const registry = await FakeRegistry.start();
  const api = await FakeKubeApi.start();
  const home = await mkdtemp(join(tmpdir(), 'metrics-'));
  await writeFile(join(home, 'kubeconfig'), api.config.exportConfig());
  await writeFile(join(home, 'cosign.pub'), makeKeyPair().pem);
  const image = makePackage(1000);
  registry.publish(image);
  const repository = `${registry.host}/a`;
  api.putModuleSource('a', { repo: repository, scheme: 'HTTP' });
  api.putModuleSource('broken', { repo: 'broken.example/m', ca: 'none' });
  const service = await ServiceProcess.start({
    settings: {
      credentials: { source: 'kubernetes' },
      registry: {
        mirrors: [{ of: '*', endpoint: registry.origin }],
        signature: { mode: 'report', keys: join(home, 'cosign.pub') },
        // No process listens there.
        bucket: { endpoint: 'http://127.0.0.1:1', credentials: { directory: home } },
      },
      bootstrap: { listenAddress: '127.0.0.1:0' },
      server: { certificates: [{ role: 'serving', certificate: CERTIFICATE }] },
    },
    flags: ['--kubeconfig', join(home, 'kubeconfig')],
  });
  try {
    await eventually(async () => {
      const { statusCode } = await service.client('readyz');
      if (statusCode !== 200) throw new Error('not ready yet');
    });
    await service.client('package', { searchParams: { digest: image.digest, repository } });
    return await service.client('metrics').text();
  } finally {
    await service.close();
    await api.close();
    await registry.close();
    await rm(home, { recursive: true });
  }
}
