import {
  clusterResources,
  KubernetesCredentialProvider,
} from '../../src/adapters/kubernetes/kubernetes-credential-provider.ts';
import { eventually } from '../support/eventually.ts';
import { FakeKubeApi } from '../support/fake-kube-api.ts';
import { NO_AGENT } from '../support/registry-agent.ts';
import {
  type ConfiguredRegistry,
  describeCredentialInspection,
  describeCredentialProvider,
  type ProviderUnderTest,
} from './credential-provider.ts';

async function make(registries: readonly ConfiguredRegistry[]): Promise<ProviderUnderTest> {
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
    failSource: async () => {
      await api.close();
      await eventually(async () => {
        if (provider.sources().every(({ failure }) => failure === undefined)) throw new Error('no failure yet');
      });
    },
    close: async () => {
      await provider.stop();
      await api.close();
    },
  };
}

describeCredentialProvider('KubernetesCredentialProvider', make);
describeCredentialInspection('KubernetesCredentialProvider', make);
