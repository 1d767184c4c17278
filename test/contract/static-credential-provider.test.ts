import { expect } from 'chai';
import { StaticCredentialProvider } from '../../src/adapters/static/static-credential-provider.ts';
import { DEFAULT_REPOSITORY, parseRepositoryName } from '../../src/domain/reference.ts';
import { parseUpstream } from '../../src/domain/upstream.ts';
import { rejection } from '../support/rejection.ts';
import {
  type ConfiguredRegistry,
  describeCredentialInspection,
  describeCredentialProvider,
  type ProviderUnderTest,
} from './credential-provider.ts';

const make = async (registries: readonly ConfiguredRegistry[]): Promise<ProviderUnderTest> => ({
  provider: new StaticCredentialProvider(
    registries.map((fields) => ({
      name: parseRepositoryName(fields.repo),
      isDefault: fields.isDefault,
      upstream: parseUpstream(fields),
    })),
  ),
  close: async () => undefined,
});

describeCredentialProvider('StaticCredentialProvider', make);
describeCredentialInspection('StaticCredentialProvider', make);

describe('StaticCredentialProvider', () => {
  it('rejects the empty name if no default registry is configured', async () => {
    const error = await rejection(new StaticCredentialProvider([]).resolve(DEFAULT_REPOSITORY));
    expect(error.message).to.equal('no default registry is configured');
  });
});
