import { expect } from 'chai';
import { parseImagesPath, parseReference } from '../../../../../src/adapters/http/images/images-path.ts';
import { RefusedError } from '../../../../../src/adapters/http/server/problem.ts';

describe('parseImagesPath', () => {
  it('reads the image, then the requested part of it', () => {
    expect(parseImagesPath('/v1/images/deckhouse-cli/tags')).to.deep.equal({ action: 'tags', image: 'deckhouse-cli' });
    expect(parseImagesPath('/v1/images/deckhouse-cli/plugins/a_b.c-d/images/v1')).to.deep.equal({
      action: 'images',
      image: 'deckhouse-cli/plugins/a_b.c-d',
      reference: 'v1',
    });
    expect(parseImagesPath('/v1/images/deckhouse-cli/manifests/sha256%3Aab')).to.include({ reference: 'sha256:ab' });
  });

  for (const path of [
    'plugins/%2e%2e/tags',
    'plugins/../tags',
    './tags',
    'images/..',
    'images/a%2fb',
    'images/',
    'tags//',
  ]) {
    it(`knows no image at deckhouse-cli/${path}`, () => {
      expect(() => parseImagesPath(`/v1/images/deckhouse-cli/${path}`)).to.throw(RefusedError, '404 page not found');
    });
  }
});

describe('parseReference', () => {
  it('distinguishes tags, digests and invalid references', () => {
    const digest = `sha256:${'a'.repeat(64)}`;
    expect(parseReference(digest)).to.deep.equal({ digest });
    expect(parseReference('V1.0_b-c')).to.deep.equal({ tag: 'V1.0_b-c' });
    for (const text of ['', '.a', '-a', 'a b', 'sha256:a', 'ä']) expect(parseReference(text)).to.equal(undefined);
  });
});
