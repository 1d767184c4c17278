/** The contract of CredentialProvider: what every adapter and every fake of it promises. */
import { expect } from 'chai';
import { RepositoryUnknownError } from '../../src/domain/errors.ts';
import type { CredentialProvider } from '../../src/domain/ports/credential-provider.ts';
import { DEFAULT_REPOSITORY, parseRepositoryName } from '../../src/domain/reference.ts';
import type { UpstreamFields } from '../../src/domain/upstream.ts';
import { rejection } from '../support/rejection.ts';

export interface ProviderUnderTest {
  readonly provider: CredentialProvider;
  close(): Promise<void>;
}

export interface ConfiguredRegistry extends UpstreamFields {
  readonly isDefault: boolean;
}

const REGISTRIES: readonly ConfiguredRegistry[] = [
  { repo: 'registry.example:5000/deckhouse/ee', scheme: 'HTTP', isDefault: true },
  {
    repo: 'modules.example/a',
    dockerCfg: Buffer.from('{"auths":{"modules.example":{"username":"robot","password":"p"}}}').toString('base64'),
    isDefault: false,
  },
];

/** `make` resolves when the provider knows the given registries. */
export function describeCredentialProvider(
  name: string,
  make: (registries: readonly ConfiguredRegistry[]) => Promise<ProviderUnderTest>,
): void {
  describe(`${name} is a CredentialProvider that`, () => {
    let peer: ProviderUnderTest;
    beforeEach(async () => {
      peer = await make(REGISTRIES);
    });
    afterEach(() => peer.close());

    it('knows where a named repository is and how to enter it', async () => {
      const { registry, repository } = await peer.provider.resolve(parseRepositoryName('modules.example/a'));
      expect(registry).to.include({ scheme: 'https', host: 'modules.example' });
      expect(registry.credential).to.include({ kind: 'basic', username: 'robot' });
      expect(repository).to.equal('a');
    });

    it('takes no name for the default registry', async () => {
      const upstream = await peer.provider.resolve(DEFAULT_REPOSITORY);
      expect(upstream.registry).to.include({ scheme: 'http', host: 'registry.example:5000' });
      expect(upstream).to.equal(
        await peer.provider.resolve(parseRepositoryName('registry.example:5000/deckhouse/ee/')),
      );
    });

    for (const unknown of [
      'modules.example',
      'modules.example/a/b',
      'modules.example/ab',
      'Modules.example/a',
      'evil.example/a',
    ]) {
      it(`does not know ${unknown}`, async () => {
        const error = await rejection(peer.provider.resolve(parseRepositoryName(unknown)));
        expect(error).to.be.instanceOf(RepositoryUnknownError);
      });
    }

    it('gives the same registry object for as long as nothing of it changes', async () => {
      const name = parseRepositoryName('modules.example/a');
      const [first, second] = [await peer.provider.resolve(name), await peer.provider.resolve(name)];
      expect(first.registry).to.equal(second.registry);
    });
  });
}
