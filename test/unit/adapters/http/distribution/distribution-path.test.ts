import { expect } from 'chai';
import {
  distributionRouteOf,
  parseDistributionPath,
  parseNamespace,
} from '../../../../../src/adapters/http/distribution/distribution-path.ts';
import { problemOf } from '../../../../../src/adapters/http/server/problem.ts';

const DIGEST = `sha256:${'0'.repeat(64)}`;

function codeOf(parse: () => unknown): string {
  try {
    parse();
    return 'none';
  } catch (error) {
    return problemOf(error).code;
  }
}

describe('parseDistributionPath', () => {
  it('reads names that contain the words of the grammar, and decodes escapes once', () => {
    expect(parseDistributionPath(`/v2/blobs/manifests/blobs/${DIGEST}`)).to.deep.equal({
      kind: 'blobs',
      name: 'blobs/manifests',
      digest: DIGEST,
    });
    expect(parseDistributionPath(`/v2/a/manifests/${DIGEST.replace(':', '%3A')}`)).to.deep.equal({
      kind: 'manifests',
      name: 'a',
      version: { digest: DIGEST },
    });
    expect(parseDistributionPath('/v2/a/b/manifests/v1.0_x')).to.deep.equal({
      kind: 'manifests',
      name: 'a/b',
      version: { tag: 'v1.0_x' },
    });
    expect(parseDistributionPath('/v2/')).to.deep.equal({ kind: 'base' });
  });

  it('refuses invalid names, invalid digests and paths that only a push uses', () => {
    for (const [path, code] of [
      [`/v2/A/blobs/${DIGEST}`, 'NAME_INVALID'],
      [`/v2/a%252fb/blobs/${DIGEST}`, 'NAME_INVALID'],
      [`/v2/a%00/blobs/${DIGEST}`, 'PAGE_UNKNOWN'],
      [`/v2/a%2fb/blobs/${DIGEST}`, 'PAGE_UNKNOWN'],
      [`/v2/a/../b/blobs/${DIGEST}`, 'PAGE_UNKNOWN'],
      [`/v2/a/%2e%2e/b/blobs/${DIGEST}`, 'PAGE_UNKNOWN'],
      [`/v2/a//blobs/${DIGEST}`, 'PAGE_UNKNOWN'],
      [`/v2/blobs/${DIGEST}`, 'PAGE_UNKNOWN'],
      ['/v2/a/blobs/v1', 'DIGEST_INVALID'],
      ['/v2/a/blobs/sha512:00', 'DIGEST_INVALID'],
      ['/v2/a/manifests/sha256:bad', 'DIGEST_INVALID'],
      ['/v2/a/manifests/.bad', 'MANIFEST_UNKNOWN'],
      ['/v2/a/blobs/uploads/1', 'PAGE_UNKNOWN'],
      ['/v2/a/tags/list', 'PAGE_UNKNOWN'],
      [`/v2/a/referrers/${DIGEST}`, 'PAGE_UNKNOWN'],
      ['/v2/_catalog', 'PAGE_UNKNOWN'],
    ] as const) {
      expect(
        codeOf(() => parseDistributionPath(path)),
        path,
      ).to.equal(code);
    }
  });
});

describe('parseNamespace', () => {
  it('reads a host with its port in its canonical form', () => {
    expect(parseNamespace('')).to.equal(undefined);
    expect(parseNamespace('ns=')).to.equal(undefined);
    expect(parseNamespace('ns=Registry.Example%3A5000&other=1')).to.equal('registry.example:5000');
    expect(parseNamespace('ns=[::1]:5000')).to.equal('[::1]:5000');
  });

  it('refuses more than a host, and a text that two parsers could read differently', () => {
    for (const query of ['ns=https://a.example', 'ns=a.example/b', 'ns=user@a.example', 'ns=a.example:0', 'ns=..']) {
      expect(
        codeOf(() => parseNamespace(query)),
        query,
      ).to.equal('NAME_INVALID');
    }
    for (const query of ['ns=a&ns=b', 'ns=a;ns=b', 'ns=%zz']) {
      expect(
        codeOf(() => parseNamespace(query)),
        query,
      ).to.equal('QUERY_INVALID');
    }
  });
});

describe('distributionRouteOf', () => {
  it('returns the name of the route without any text of the client', () => {
    expect(['/v2/', `/v2/a/b/manifests/v1`, `/v2/a/blobs/${DIGEST}`].map(distributionRouteOf)).to.deep.equal([
      '/v2/',
      '/v2/manifests',
      '/v2/blobs',
    ]);
    expect(['/v2', '/v2/a', '/v2/a/tags/list', '/v1/images/a'].map(distributionRouteOf)).to.deep.equal(
      Array.from({ length: 4 }),
    );
  });
});
