import {
  clusterResources,
  KubernetesCredentialProvider,
} from '../../src/adapters/kubernetes/kubernetes-credential-provider.ts';
import { eventually } from '../support/eventually.ts';
import { FakeKubeApi } from '../support/fake-kube-api.ts';
import { describeCredentialProvider } from './credential-provider.ts';

describeCredentialProvider('KubernetesCredentialProvider', async (registries) => {
  const api = await FakeKubeApi.start();
  for (const { repo, scheme = 'HTTPS', dockerCfg = '', isDefault } of registries) {
    const [address = '', ...path] = repo.split('/');
    if (isDefault) api.putSecret({ address, path: `/${path.join('/')}`, scheme: scheme.toLowerCase() });
    else api.putModuleSource(repo.replaceAll(/\W/g, '-'), { repo, scheme, dockerCfg });
  }
  const sources = clusterResources(api.access, { namespace: 'd8-system', name: 'deckhouse-registry' });
  const provider = new KubernetesCredentialProvider({ sources, onEvent: () => undefined });
  provider.start();
  await eventually(async () => {
    if (provider.pending.length > 0) throw new Error('not listed');
  });
  return {
    provider,
    close: async () => {
      await provider.stop();
      await api.close();
    },
  };
});
