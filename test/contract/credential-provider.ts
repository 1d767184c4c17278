/** The contract of CredentialProvider: what every adapter and every fake of it promises. */
import { expect } from 'chai';
import type { CredentialInspection, CredentialProvider } from '../../src/domain/ports/credential-provider.ts';
import { RepositoryUnknownError } from '../../src/domain/errors.ts';
import { DEFAULT_REPOSITORY, parseRepositoryName } from '../../src/domain/reference.ts';
import type { UpstreamFields } from '../../src/domain/upstream.ts';
import { rejection } from '../support/rejection.ts';

export interface ProviderUnderTest {
  readonly provider: CredentialProvider & CredentialInspection;
  /** Makes the source of the configuration fail from now on; absent where there is none that could. */
  readonly failSource?: () => Promise<void>;
  close(): Promise<void>;
}

export interface ConfiguredRegistry extends UpstreamFields {
  readonly isDefault: boolean;
}

const REGISTRIES: readonly ConfiguredRegistry[] = [
  { repo: 'registry.example:5000/deckhouse/ee', scheme: 'HTTP', isDefault: true },
  {
    repo: 'modules.example/a',
    dockerCfg: Buffer.from('{"auths":{"modules.example":{"username":"robot","password":"hunter2"}}}').toString(
      'base64',
    ),
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

    it('resolves the name of a repository to its registry and credential', async () => {
      const { registry, repository } = await peer.provider.resolve(parseRepositoryName('modules.example/a'));
      expect(registry).to.include({ scheme: 'https', host: 'modules.example' });
      expect(registry.credential).to.include({ kind: 'basic', username: 'robot' });
      expect(repository).to.equal('a');
    });

    it('resolves the empty name to the default registry', async () => {
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

    it('returns the same registry object until its configuration changes', async () => {
      const name = parseRepositoryName('modules.example/a');
      const [first, second] = [await peer.provider.resolve(name), await peer.provider.resolve(name)];
      expect(first.registry).to.equal(second.registry);
    });

    it('uses the last known configuration when its source fails', async function () {
      if (peer.failSource === undefined) this.skip();
      await peer.failSource();
      const { registry } = await peer.provider.resolve(parseRepositoryName('modules.example/a'));
      expect(registry.host).to.equal('modules.example');
      const error = await rejection(peer.provider.resolve(parseRepositoryName('evil.example/a')));
      expect(error).to.be.instanceOf(RepositoryUnknownError);
    });
  });
}

/** The contract of CredentialInspection, which every provider keeps beside that of CredentialProvider. */
export function describeCredentialInspection(
  name: string,
  make: (registries: readonly ConfiguredRegistry[]) => Promise<ProviderUnderTest>,
): void {
  describe(`${name} is a CredentialInspection that`, () => {
    let peer: ProviderUnderTest;
    beforeEach(async () => {
      peer = await make(REGISTRIES);
    });
    afterEach(() => peer.close());

    it('shows the configured registries and their accounts without secrets', async () => {
      const registries = peer.provider.registries();
      const shown = registries.map(({ names, upstream }) => ({ names: names.toSorted(), upstream }));
      const [module, byDefault] = shown.toSorted((a, b) => a.upstream.host.localeCompare(b.upstream.host));
      expect(module).to.deep.equal({
        names: ['modules.example/a'],
        upstream: {
          scheme: 'https',
          host: 'modules.example',
          repository: 'a',
          credential: { kind: 'basic', user: 'robot' },
          certificates: 0,
        },
      });
      expect(byDefault?.names).to.include.members(['', 'registry.example:5000/deckhouse/ee']);
      expect(byDefault?.upstream).to.deep.include({
        scheme: 'http',
        credential: { kind: 'anonymous', user: undefined },
      });
      expect(registries).to.have.lengthOf(2);
      expect(JSON.stringify([registries, peer.provider.sources()])).not.to.match(/hunter2|auths|\[secret\]/);
    });

    it('shows when it last read the registries', () => {
      const sources = peer.provider.sources();
      expect(sources.reduce((sum, { objects }) => sum + objects, 0)).to.equal(2);
      for (const source of sources) {
        expect(source.listedAt?.getTime()).to.be.closeTo(Date.now(), 60_000);
        expect(source).to.deep.include({ rejected: [], failure: undefined });
      }
    });

    it('shows that a source fails, and the last known registries', async function () {
      if (peer.failSource === undefined) this.skip();
      await peer.failSource();
      expect(peer.provider.sources().some(({ failure }) => failure !== undefined)).to.equal(true);
      expect(peer.provider.registries()).to.have.lengthOf(2);
    });
  });
}
