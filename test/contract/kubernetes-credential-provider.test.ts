import {
  clusterResources,
  KubernetesCredentialProvider,
} from '../../src/adapters/kubernetes/kubernetes-credential-provider.ts';
import { eventually } from '../support/eventually.ts';
import { FakeKubeApi } from '../support/fake-kube-api.ts';
import { NO_AGENT } from '../support/registry-agent.ts';
import { describeCredentialProvider } from './credential-provider.ts';

describeCredentialProvider('KubernetesCredentialProvider', async (registries) => {
  const api = await FakeKubeApi.start();
  for (const { repo, scheme = 'HTTPS', dockerCfg = '', isDefault } of registries) {
    const [address = '', ...path] = repo.split('/');
    if (isDefault) api.putSecret({ address, path: `/${path.join('/')}`, scheme: scheme.toLowerCase() });
    else api.putModuleSource(repo.replaceAll(/\W/g, '-'), { repo, scheme, dockerCfg });
  }
  const sources = clusterResources(api.access, { namespace: 'd8-system', name: 'deckhouse-registry' });
  const provider = new KubernetesCredentialProvider({ sources, onEvent: () => undefined, agent: NO_AGENT });
  provider.start();
  await eventually(async () => {
    if (provider.sources().some(({ listedAt }) => listedAt === undefined)) throw new Error('not listed');
  });
  return {
    provider,
    close: async () => {
      await provider.stop();
      await api.close();
    },
  };
});
