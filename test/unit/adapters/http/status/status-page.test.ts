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
  it('says that it is ready, or what is missing, since when it runs and when it was made', () => {
    expect(textOf(statusOf({}))).to.include('✓ Ready version 1.2.3 started 2 h ago as of 16:05:30 UTC');
    const missing = ['not listed yet: secrets', 'the cache directory cannot be written'];
    expect(textOf(statusOf({}, { missing }))).to.include(
      '✗ Not ready: not listed yet: secrets; the cache directory cannot be written',
    );
  });

  it('says of nothing that there is nothing', () => {
    const text = textOf(statusOf({}));
    for (const nothing of [
      'Nothing is being downloaded into the cache.',
      'Nothing is cached.',
      'No registry is known.',
      'None since the start.',
    ]) {
      expect(text).to.include(nothing);
    }
  });

  it('counts hits and misses, and what the cache takes of what it may', () => {
    const requests = { outcomes: { hit: 1230, miss: 4, joined: 5, bypass: 1 }, failures: () => [] };
    const text = textOf(statusOf({ requests, store: storeOf([]) }));
    expect(text).to.include('Cache 300 MiB 29 % of 1.00 GiB; 0 blobs');
    expect(text).to.include('Hits 1,230 99 % of 1,240 Misses 4 downloads begun Joined 5');
    expect(text).to.include('Evicted 12 1 found damaged');
  });

  it('says that a cache is off instead of dividing by nothing', () => {
    const store = { ...storeOf([]), usage: { ...storeOf([]).usage, bytes: 0, maxBytes: 0 } };
    expect(textOf(statusOf({ store }))).to.include('Cache off nothing is kept');
  });

  it('has a bar for each download, with how much has come and how long the rest may take', () => {
    const image = makePackage(1000);
    const request = { digest: image.digest, repository: '' as RepositoryName, path: 'ingress' as RepositoryPath };
    const layer = { ...image.layer.descriptor, size: 4000 };
    const download = { request, layer, startedAt: ago(10), bytes: 1000, clients: 2, isQueued: false };
    const downloads = { ...inspectionOf().downloads, list: () => [download] };
    expect(String(renderStatus(statusOf({ downloads })))).to.match(
      /<progress\s+max="4000"\s+value="1000"\s+aria-label="Download of sha256:/,
    );
    expect(textOf(statusOf({ downloads }))).to.include(
      `${image.digest} default registry / ingress 1000 B of 3.91 KiB, 25 %, 30 s left 2 10 s ago`,
    );
  });

  it('says what a cached blob is, as far as requests have told, and when it was used and verified', () => {
    const image = makePackage(100);
    const layer = { ...blob(1, 60), digest: image.layer.descriptor.digest, verifiedAt: ago(240) };
    const manifest = { ...blob(2, 30), digest: image.digest };
    const stranger = blob(3, 10);
    const known = [{ digest: image.digest, layer: image.layer.descriptor }];
    const text = textOf(statusOf({ store: storeOf([stranger, manifest, layer]), packages: { known: () => known } }));
    expect(text).to.include(`${stranger.digest} not asked for yet 10 B 10 s ago 10 s ago not yet`);
    expect(text).to.include(`${manifest.digest} manifest 10 B`);
    expect(text).to.include(`${layer.digest} layer of ${image.digest} 10 B 60 s ago 60 s ago 4 min ago`);
  });

  it('shows the two hundred that were used last, and says how many more there are', () => {
    const kept = Array.from({ length: 203 }, (_, index) => blob(index, index));
    const markup = String(renderStatus(statusOf({ store: storeOf(kept) })));
    expect(markup.match(/<tr id="blob-/g)).to.have.lengthOf(200);
    expect(markup).to.include(kept[199]?.digest).and.not.to.include(kept[200]?.digest);
    expect(markup).to.include('And 3 more that were used longer ago.');
  });

  it('says how each registry is entered, and how old and how whole each source of that is', () => {
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
      'registry.example/modules https://registry.example as robot 2 CA certificates of its own modulesources / modules',
    );
    expect(text).to.include(
      'default registry https://registry.example by an identity token secrets / deckhouse-registry',
    );
    expect(text).to.include('modulesources 5 min ago 3 Failing 20 s ago: watch: connection refused');
    expect(text).to.include('Rejected broken: scheme: must be HTTP or HTTPS');
    expect(text).to.include('secrets pending 0 none');
  });

  it('says why requests failed and how often, and what registries said', () => {
    const { digest } = makePackage(1);
    const request = { digest, repository: 'registry.example/modules' as RepositoryName, path: undefined };
    const failed = { firstAt: ago(900), lastAt: ago(5), count: 12 };
    const requests: Inspection['requests'] = {
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
      `5 s ago 16:05:25 UTC 12 502 UPSTREAM_UNAVAILABLE registry is unavailable ECONNREFUSED ${digest} registry.example/modules`,
    );
    expect(text).to.include('12 400 DIGEST_INVALID no digest not understood');
    expect(text).to.include(
      `61 s ago 16:04:29 UTC registry.example/modules UPSTREAM_TIMEOUT registry did not answer in time idle blob ${digest}`,
    );
    expect(text).not.to.include('all well');
  });

  it('makes text of every value', () => {
    const hostile = `"'></title></script><img src=x onerror=alert(1)>&amp;`;
    const name = hostile as RepositoryName & RepositoryPath;
    const { layer } = makePackage(1);
    const digest = hostile as Digest;
    const request = { digest, repository: name, path: name };
    const descriptor = { mediaType: hostile, digest, size: 9 };
    const kept = { ...blob(1, 1), digest };
    const download = { request, layer: descriptor, startedAt: ago(9), bytes: 1, clients: 1, isQueued: true };
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
      requests: { outcomes: { hit: 0, miss: 0, joined: 0, bypass: 0 }, failures: () => [failure] },
    };
    const explanation: Explanation = {
      request,
      verdict: { outcome: 'fail', code: 'INTERNAL', reason: hostile, cause: hostile, seenAt: NOW, retryAt: NOW },
      configuration: { registry, upstream, error: undefined, sources: [source], known: [registry] },
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
