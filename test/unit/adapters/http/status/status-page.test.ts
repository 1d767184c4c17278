import { expect } from 'chai';
import { renderStatus } from '../../../../../src/adapters/http/status/status-page.ts';
import type { ExplainPackage } from '../../../../../src/application/explain-package.ts';
import type { Inspection } from '../../../../../src/adapters/http/status/parts.ts';
import type { Digest } from '../../../../../src/domain/descriptor.ts';
import type { BlobInfo } from '../../../../../src/domain/ports/package-store.ts';
import type { RepositoryName, RepositoryPath } from '../../../../../src/domain/reference.ts';
import { inspectionOf } from '../../../../support/inspection.ts';
import { makePackage } from '../../../../support/image.ts';

type Status = Parameters<typeof renderStatus>[0];

type Explanation = Awaited<ReturnType<ExplainPackage['execute']>>;

const NOW = new Date('2026-11-25T16:05:30Z');
const ago = (seconds: number): Date => new Date(NOW.getTime() - seconds * 1000);

function statusOf(inspection: Partial<Inspection>, rest: Partial<Status> = {}): Status {
  return {
    version: '1.2.3',
    node: 'master-0',
    pod: 'registry-packages-proxy-5d8f',
    listing: { filter: '', sort: 'used' },
    startedAt: ago(7200),
    now: NOW,
    missing: [],
    inspection: inspectionOf(inspection),
    question: { fields: { digest: '', repository: '', path: '' }, mistakes: {}, request: undefined },
    explanation: undefined,
    ...rest,
  };
}

/** The visible text, a line for each piece. */
function textOf(status: Status): string {
  return renderStatus(status)
    .toString()
    .replace(/<(style|script)>.*?<\/\1>/gs, '')
    .replace(/<[^>]*>/g, ' ')
    .replace(/\s+/g, ' ')
    .replaceAll(' :', ':');
}

function blob(seed: number, seconds: number): BlobInfo {
  const { digest, size } = makePackage(10, seed).layer.descriptor;
  return { digest, size, storedAt: ago(seconds), usedAt: ago(seconds), verifiedAt: undefined };
}

function storeOf(kept: readonly BlobInfo[]): Inspection['store'] {
  const usage = {
    bytes: 300 * 1024 ** 2,
    maxBytes: 1024 ** 3,
    limitBytes: 1024 ** 3,
    failures: {},
    entries: kept.length,
    evicted: 12,
    damaged: 1,
    scrubbedBytes: 0,
  };
  return { usage, list: (most) => kept.slice(0, most) };
}

describe('the status page', () => {
  it('shows whether the service is ready or what is missing, its start, and the time of the page', () => {
    expect(textOf(statusOf({}))).to.include(
      '✓ Ready ✓ No failed request in the last hour pod registry-packages-proxy-5d8f version 1.2.3 started 2 h ago as of 16:05:30 UTC',
    );
    const missing = ['not listed yet: secrets', 'the cache directory cannot be written'];
    expect(textOf(statusOf({}, { missing }))).to.include(
      '✗ Not ready: not listed yet: secrets; the cache directory cannot be written',
    );
  });

  it('shows a text for each empty section', () => {
    const text = textOf(statusOf({}));
    for (const nothing of [
      'Nothing is being downloaded into the cache.',
      'No cached package has been requested since the start.',
      'No registry is known.',
      'None since the start.',
    ]) {
      expect(text).to.include(nothing);
    }
  });

  it('shows hits and misses, and the size and limit of the cache', () => {
    const requests = { ...inspectionOf().requests, outcomes: { hit: 1230, miss: 4, joined: 5, bypass: 1 } };
    const text = textOf(statusOf({ requests, store: storeOf([]) }));
    expect(text).to.include('Cache 300 MiB 29 % of 1.00 GiB; 0 blobs');
    expect(text).to.include('Hits 1,230 99 % of 1,240 Misses 4 downloads begun Joined 5');
    expect(text).to.include('Evicted 12 1 found damaged');
  });

  it('shows that the cache is off instead of dividing by zero', () => {
    const store = { ...storeOf([]), usage: { ...storeOf([]).usage, bytes: 0, maxBytes: 0 } };
    expect(textOf(statusOf({ store }))).to.include('Cache off nothing is cached');
  });

  it('has a bar for each download, with its bytes and the estimated remaining time', () => {
    const image = makePackage(1000);
    const request = { digest: image.digest, repository: '' as RepositoryName, path: 'ingress' as RepositoryPath };
    const layer = { ...image.layer.descriptor, size: 4000 };
    const download = {
      request,
      layer,
      startedAt: ago(10),
      bytes: 1000,
      clients: 2,
      isQueued: false,
      source: { openedAt: ago(5), receivedAt: ago(1) },
    };
    const downloads = { ...inspectionOf().downloads, list: () => [download] };
    expect(String(renderStatus(statusOf({ downloads })))).to.match(
      /<progress\s+max="4000"\s+value="1000"\s+aria-label="Download of sha256:/,
    );
    expect(textOf(statusOf({ downloads }))).to.include(
      `${image.digest} default registry / ingress 1000 B of 3.91 KiB, 25 %, 200 B/s, 15 s left 2 10 s ago`,
    );
  });

  describe('the table of packages', () => {
    const images = [1, 2, 3].map((seed) => makePackage(100 * seed, seed));
    const requests = {
      ...inspectionOf().requests,
      requestFor: (digest: Digest) =>
        digest === images[2]?.digest
          ? undefined
          : {
              digest,
              repository: 'registry.example/modules' as RepositoryName,
              path: (digest === images[0]?.digest ? 'ingress-nginx' : 'cni-cilium') as RepositoryPath,
            },
    };
    const layers = images.map(({ layer }, index) => ({
      ...blob(index, 60 * (index + 1)),
      digest: layer.descriptor.digest,
      size: layer.descriptor.size,
    }));
    const manifest = { ...blob(9, 5), digest: images[0]?.digest ?? ('' as Digest) };
    const inspection = {
      requests,
      store: storeOf([
        manifest,
        ...layers.map((layer, index) => (index === 0 ? { ...layer, verifiedAt: ago(240) } : layer)),
      ]),
      packages: { known: () => images.map(({ digest, layer }) => ({ digest, layer: layer.descriptor })) },
    };
    const pageOf = (listing: Partial<Status['listing']>): string =>
      textOf(statusOf(inspection, { listing: { filter: '', sort: 'used', ...listing } }));
    const shown = (listing: Partial<Status['listing']>): number[] => {
      const text = pageOf(listing);
      const table = text.slice(text.indexOf('Packages in the cache'), text.indexOf('other blobs'));
      return images
        .map(({ layer }, index) => ({ index, at: table.indexOf(layer.descriptor.digest) }))
        .filter(({ at }) => at >= 0)
        .sort((one, other) => one.at - other.at)
        .map(({ index }) => index);
    };

    it('has a row for each package, with repository, digests, size, age, last use and verification', () => {
      const [first, , last] = images;
      if (first === undefined || last === undefined) throw new Error('three images');
      const text = pageOf({});
      expect(text).to.include('3 packages.');
      expect(text).to.include(
        `registry.example/modules / ingress-nginx ${first.digest} layer ${first.layer.descriptor.digest} 100 B 60 s ago 60 s ago 4 min ago`,
      );
      expect(text).to.include(
        `place not known ${last.digest} layer ${last.layer.descriptor.digest} 300 B 3 min ago 3 min ago not yet`,
      );
      expect(text).to.include(
        `1 other blobs, 10 B Manifests, and packages that have not been requested since the start.`,
      );
    });

    it('can be ordered by each column', () => {
      expect(shown({})).to.deep.equal([0, 1, 2]);
      expect(shown({ sort: 'size' })).to.deep.equal([2, 1, 0]);
      expect(shown({ sort: 'package' })).to.deep.equal([2, 1, 0]);
      expect(shown({ sort: 'verified' })).to.deep.equal([1, 2, 0]);
      expect(shown({ sort: 'stored' })).to.deep.equal([0, 1, 2]);
      const digests = images
        .map(({ digest }, index) => ({ digest, index }))
        .sort((a, b) => (a.digest < b.digest ? -1 : 1));
      expect(shown({ sort: 'digest' })).to.deep.equal(digests.map(({ index }) => index));
    });

    it('has a link for each order, which keeps the filter, and shows the current order', () => {
      const markup = String(renderStatus(statusOf(inspection, { listing: { filter: 'zz <b>', sort: 'size' } })));
      expect(markup).to.include('No package matches.');
      const found = String(renderStatus(statusOf(inspection, { listing: { filter: 'modules', sort: 'size' } })));
      expect(found).to.match(/aria-sort="descending"\s*>\s*<a href="\?filter=modules&amp;sort=size#packages">Size/);
      expect(found.match(/aria-sort=/g)).to.have.lengthOf(1);
    });

    it('can be filtered by a part of a repository or a digest, in any case', () => {
      expect(shown({ filter: 'NGINX' })).to.deep.equal([0]);
      expect(shown({ filter: 'modules cni' })).to.deep.equal([1]);
      expect(shown({ filter: images[2]?.layer.descriptor.digest.slice(7, 27) ?? '' })).to.deep.equal([2]);
      expect(shown({ filter: 'modules nowhere' })).to.deep.equal([]);
      expect(pageOf({ filter: 'cni' })).to.include('1 package matching “cni”.');
    });

    it('shows two hundred packages and the number of further ones', () => {
      const many = Array.from({ length: 203 }, (_, index) => makePackage(8, index + 50));
      const known = many.map(({ digest, layer }) => ({ digest, layer: layer.descriptor }));
      const kept = known.map(({ layer: { digest } }, index) => ({ ...blob(index, index), digest }));
      const markup = String(renderStatus(statusOf({ store: storeOf(kept), packages: { known: () => known } })));
      expect(markup.match(/ id="package-/g)).to.have.lengthOf(200);
      expect(markup).to.include(kept[199]?.digest).and.not.to.include(kept[200]?.digest);
      expect(markup).to.include('And 3 more; a filter narrows the list.');
    });
  });

  it('draws the last hour, and shows the number of failed requests in its heading', () => {
    const minutes = Array.from({ length: 60 }, (_, index) => ({
      at: ago(60 * (59 - index)),
      hits: index,
      misses: 0,
      failures: index === 7 ? 3 : 0,
      bytes: index === 59 ? 2 ** 20 : 0,
    }));
    const requests = { ...inspectionOf().requests, lastHour: () => minutes };
    const markup = String(renderStatus(statusOf({ requests })));
    expect(markup).to.include('aria-label="Hits in the last hour: 1,770, at most 59 in a minute"');
    expect(markup).to.include('aria-label="Sent in the last hour: 1.00 MiB, at most 1.00 MiB in a minute"');
    expect(markup.match(/<rect\s/g)).to.have.lengthOf(59 + 1 + 1);
    expect(markup).to.match(/<rect\s+x="7"\s+y="0.00"\s+width="0.75"\s+height="24.00"/);
    expect(textOf(statusOf({ requests }))).to.include('✗ 3 failed requests in the last hour');
  });

  it('has the name of its node in the title', () => {
    expect(String(renderStatus(statusOf({})))).to.include('<title>master-0: status of registry-packages-proxy</title>');
    expect(String(renderStatus(statusOf({}, { node: undefined, pod: undefined })))).to.include(
      '<title>status of registry-packages-proxy</title>',
    );
  });

  it('shows that a source does not answer', () => {
    const { digest, layer } = makePackage(1000);
    const request = { digest, repository: '' as RepositoryName, path: undefined };
    const source = { openedAt: ago(60), receivedAt: ago(30) };
    const download = {
      request,
      layer: layer.descriptor,
      startedAt: ago(60),
      bytes: 10,
      clients: 1,
      isQueued: false,
      source,
    };
    const downloads = { ...inspectionOf().downloads, list: () => [download] };
    expect(textOf(statusOf({ downloads }))).to.include('no byte for 30 s');
  });

  it('shows the credential of each registry, and the age and state of its source', () => {
    const upstream = { scheme: 'https', host: 'registry.example', repository: undefined, certificates: 2 } as const;
    const registries: ReturnType<Inspection['credentials']['registries']> = [
      {
        resource: 'modulesources',
        object: 'modules',
        names: ['registry.example/modules' as RepositoryName],
        upstream: { ...upstream, credential: { kind: 'basic', user: 'robot' } },
      },
      {
        resource: 'secrets',
        object: 'deckhouse-registry',
        names: ['' as RepositoryName],
        upstream: { ...upstream, credential: { kind: 'identity', user: undefined }, certificates: 0 },
      },
    ];
    const sources: ReturnType<Inspection['credentials']['sources']> = [
      {
        resource: 'modulesources',
        listedAt: ago(300),
        objects: 3,
        rejected: [{ object: 'broken', reason: 'scheme: must be HTTP or HTTPS' }],
        failure: { at: ago(20), reason: 'watch: connection refused' },
      },
      { resource: 'secrets', listedAt: undefined, objects: 0, rejected: [], failure: undefined },
    ];
    const text = textOf(statusOf({ credentials: { registries: () => registries, sources: () => sources } }));
    expect(text).to.include(
      'registry.example/modules https://registry.example user robot 2 CA certificates of its own modulesources / modules',
    );
    expect(text).to.include('default registry https://registry.example identity token secrets / deckhouse-registry');
    expect(text).to.include('modulesources 5 min ago 3 Failing 20 s ago: watch: connection refused');
    expect(text).to.include('Rejected broken: scheme: must be HTTP or HTTPS');
    expect(text).to.include('secrets pending 0 none');
  });

  it('shows why and how often requests failed, and the answers of registries', () => {
    const { digest } = makePackage(1);
    const request = { digest, repository: 'registry.example/modules' as RepositoryName, path: undefined };
    const failed = { firstAt: ago(900), lastAt: ago(5), count: 12 };
    const requests: Inspection['requests'] = {
      ...inspectionOf().requests,
      outcomes: { hit: 0, miss: 0, joined: 0, bypass: 0 },
      failures: () => [
        {
          ...failed,
          request,
          status: 502,
          code: 'UPSTREAM_UNAVAILABLE',
          detail: 'registry is unavailable',
          cause: 'ECONNREFUSED',
        },
        { ...failed, request: undefined, status: 400, code: 'DIGEST_INVALID', detail: 'no digest', cause: undefined },
      ],
    };
    const answer = {
      operation: 'blob',
      host: 'registry.example',
      repository: 'modules' as RepositoryPath,
      digest,
      at: ago(61),
    } as const;
    const answers = [
      { ...answer, code: 'OK', detail: 'all well', cause: undefined } as const,
      { ...answer, code: 'UPSTREAM_TIMEOUT', detail: 'registry did not answer in time', cause: 'idle' } as const,
    ];
    const text = textOf(statusOf({ requests, upstreams: { answers: () => [...answers] } }));
    expect(text).to.include(
      `5 s ago 16:05:25 UTC registry is unavailable ECONNREFUSED 502 UPSTREAM_UNAVAILABLE 12 registry.example/modules ${digest}`,
    );
    expect(text).to.include('no digest 400 DIGEST_INVALID 12 not understood');
    expect(text).to.include(
      `61 s ago 16:04:29 UTC registry did not answer in time idle UPSTREAM_TIMEOUT registry.example/modules blob ${digest}`,
    );
    expect(text).not.to.include('all well');
  });

  it('escapes every value', () => {
    const hostile = `"'></title></script><img src=x onerror=alert(1)>&amp;`;
    const name = hostile as RepositoryName & RepositoryPath;
    const { layer } = makePackage(1);
    const digest = hostile as Digest;
    const request = { digest, repository: name, path: name };
    const descriptor = { mediaType: hostile, digest, size: 9 };
    const kept = { ...blob(1, 1), digest };
    const download = {
      request,
      layer: descriptor,
      startedAt: ago(9),
      bytes: 1,
      clients: 1,
      isQueued: true,
      source: undefined,
    };
    const upstream = {
      scheme: 'https',
      host: hostile,
      repository: name,
      credential: { kind: 'basic', user: hostile },
      certificates: 1,
    } as const;
    const registry = { resource: hostile, object: hostile, names: [name], upstream };
    const source = {
      resource: hostile,
      listedAt: NOW,
      objects: 1,
      rejected: [{ object: hostile, reason: hostile }],
      failure: { at: NOW, reason: hostile },
    };
    const answer = {
      operation: 'blob',
      host: hostile,
      repository: name,
      digest,
      at: NOW,
      code: 'INTERNAL',
      detail: hostile,
      cause: hostile,
    } as const;
    const failure = {
      request,
      status: 502,
      code: hostile,
      detail: hostile,
      cause: hostile,
      count: 1,
      firstAt: NOW,
      lastAt: NOW,
    };
    const inspection = {
      store: storeOf([kept]),
      packages: {
        known: () => [{ digest, layer: { ...layer.descriptor, digest } }],
      },
      downloads: { ...inspectionOf().downloads, list: () => [download] },
      credentials: { sources: () => [source], registries: () => [registry] },
      upstreams: { answers: () => [answer] },
      requests: { ...inspectionOf().requests, failures: () => [failure], requestFor: () => request },
    };
    const place = {
      kind: 'mirror',
      name: hostile,
      resting: { until: NOW, reason: hostile },
      isFailing: true,
      distrusted: 1,
    } as const;
    const explanation: Explanation = {
      request,
      verdict: { outcome: 'fail', code: 'INTERNAL', reason: hostile, cause: hostile, seenAt: NOW, retryAt: NOW },
      configuration: {
        registry,
        upstream,
        error: undefined,
        sources: [source],
        askedBefore: [place],
        known: [registry],
        imageRoots: [{ host: hostile, repository: undefined, answer: undefined }],
      },
      layer: descriptor,
      cached: { manifest: kept, layer: kept },
      download,
      signature: {
        mode: 'enforce',
        finding: { request, verdict: { kind: 'invalid', reason: hostile }, verifiedAt: NOW },
      },
      answers: { manifest: answer, layer: answer, latest: answer },
      failures: [failure],
    };
    const fields = { digest: hostile, repository: hostile, path: hostile };
    const mistakes = fields;
    const harmless = String(renderStatus(statusOf({})));
    for (const configuration of [explanation.configuration, { ...explanation.configuration, upstream: undefined }]) {
      const markup = String(
        renderStatus(
          statusOf(inspection, {
            version: hostile,
            node: hostile,
            pod: hostile,
            listing: { filter: hostile, sort: 'used' },
            missing: [hostile],
            question: { fields, mistakes, request: undefined },
            explanation: { ...explanation, configuration },
          }),
        ),
      );
      expect(markup.match(/&lt;img src=x/g)?.length).to.be.greaterThan(40);
      expect(markup).not.to.match(/<img|onerror=alert\(1\)>/);
      for (const end of ['</title>', '</script>']) {
        expect(markup.split(end), end).to.have.lengthOf(harmless.split(end).length);
      }
    }
  });
});
