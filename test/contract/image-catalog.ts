/** The contract of ImageCatalog: what every adapter of it promises, with peers that misbehave. */
import { expect } from 'chai';
import { gzipSync } from 'node:zlib';
import {
  DigestMismatchError,
  PackageError,
  PackageUnknownError,
  UpstreamDeniedError,
  UpstreamTimeoutError,
  UpstreamUnavailableError,
} from '../../src/domain/errors.ts';
import type { ImageCatalog } from '../../src/domain/ports/registry-gateway.ts';
import type { Tag } from '../../src/domain/reference.ts';
import type { Upstream } from '../../src/domain/upstream.ts';
import { makePackage } from '../support/image.ts';
import { rejection } from '../support/rejection.ts';

/** Answers of the registry by the end of the path and the query that is asked for. */
export type Pages = Readonly<Record<string, PageAnswer>>;

export interface PageAnswer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: string | Uint8Array;
}

export interface CatalogUnderTest {
  readonly catalog: ImageCatalog;
  readonly upstream: Upstream;
  answer(pages: Pages): void;
  /** Makes the registry stop answering, or reset each connection. */
  fail(how: 'stall' | 'reset'): void;
  /** How often the registry was asked for a list of tags. */
  readonly listings: number;
  close(): Promise<void>;
}

const never = new AbortController().signal;
const tag = 'v1.2.3' as Tag;

const list = (tags: readonly string[] | null, headers?: Readonly<Record<string, string>>): PageAnswer => ({
  body: JSON.stringify({ name: 'deckhouse/ee', tags }),
  ...(headers !== undefined && { headers }),
});

export function describeImageCatalog(name: string, make: () => Promise<CatalogUnderTest>): void {
  describe(`${name} is an ImageCatalog that`, () => {
    let peer: CatalogUnderTest;
    beforeEach(async () => {
      peer = await make();
    });
    afterEach(() => peer.close());
    const listed = (pages: Pages): Promise<readonly string[]> => {
      peer.answer(pages);
      return peer.catalog.listTags(peer.upstream, never);
    };

    it('lists all tags in the order of the registry', async () => {
      expect(await listed({ 'tags/list': list(['v2', 'v10', 'latest', 'a_b.c-d']) })).to.deep.equal([
        'v2',
        'v10',
        'latest',
        'a_b.c-d',
      ]);
    });

    it('returns no tags for an empty list, for null and for a missing member', async () => {
      expect(await listed({ 'tags/list': list([]) })).to.deep.equal([]);
      expect(await listed({ 'tags/list': list(null) })).to.deep.equal([]);
      expect(await listed({ 'tags/list': { body: '{}' } })).to.deep.equal([]);
    });

    const links = [
      '</v2/deckhouse/ee/tags/list?n=1&last=a>; rel="next"',
      '<http://registry.internal:5000/v2/deckhouse/ee/tags/list?n=1&last=a>; rel="next"',
      '<?n=1&last=a>;rel=next',
      '</v2/x>; rel="first", </v2/deckhouse/ee/tags/list?n=1&last=a>; title="t"; rel="other next"',
      '</v2/deckhouse/ee/tags/list?n=1&last=a>; title="b, c"; rel="next"',
      "</v2/deckhouse/ee/tags/list?n=1&last=a>; rel='next'",
      '</v2/deckhouse/ee/tags/list?n=1&last=a>',
      '/v2/deckhouse/ee/tags/list?n=1&last=a; rel="next"',
    ];
    for (const link of links) {
      it(`follows the link ${link}, at the registry itself`, async () => {
        const pages = { 'tags/list': list(['a'], { link }), 'tags/list?n=1&last=a': list(['b']) };
        expect(await listed(pages)).to.deep.equal(['a', 'b']);
      });
    }

    for (const link of [
      '</v2/x?last=a>; rel="prev"',
      '/v2/x?last=a; rel=nextto',
      '</v2/x?last=a>; title=next; rel=""',
    ]) {
      it(`does not follow the link ${link}`, async () => {
        expect(await listed({ 'tags/list': list(['a'], { link }) })).to.deep.equal(['a']);
        expect(peer.listings).to.equal(1);
      });
    }

    it('reads a link of 60 000 opening brackets in linear time', async function () {
      // In quadratic time the event loop would stop for 6 s.
      this.timeout(3000);
      const link = `${'<'.repeat(60_000)}/v2/x?last=a`;
      expect(await listed({ 'tags/list': list(['a'], { link }) })).to.deep.equal(['a']);
    });

    const wrong: readonly [what: string, page: PageAnswer][] = [
      ['a page of a portal', { body: '<html><body>login</body></html>' }],
      ['an array', { body: '["a"]' }],
      ['tags that are no list', { body: '{"tags":{"a":1}}' }],
      ['nothing', { body: '' }],
      ['a link to the same page for ever', list(['a'], { link: '<?last=a>; rel="next"' })],
      ['more than 14 MiB', { body: JSON.stringify({ tags: ['a'.repeat(15 << 20)] }) }],
      ['an error', { status: 500, body: '' }],
      ['brackets to the last byte', { body: '['.repeat(100_000) }],
      ['half a million empty lists', { body: `{"tags":[${'[],'.repeat(500_000)}[]]}` }],
      ['half a million tags on one page', { body: `{"tags":[${'"a",'.repeat(500_000)}"a"]}` }],
    ];
    for (const [what, page] of wrong) {
      it(`says that the registry fails when its list is ${what}`, async () => {
        const error = await rejection(listed({ 'tags/list': page, 'tags/list?last=a': page }));
        expect(error).to.be.instanceOf(UpstreamUnavailableError);
        expect(error.message).to.equal('registry is unavailable');
      });
    }

    it('decodes a list although the request accepts no encoding', async () => {
      const headers = { 'content-encoding': 'gzip' };
      expect(await listed({ 'tags/list': { body: gzipSync('{"tags":["a","b"]}'), headers } })).to.deep.equal([
        'a',
        'b',
      ]);
      expect(await listed({ 'tags/list': { body: '{"tags":["c"]}', headers } })).to.deep.equal(['c']);
    });

    it('leaves out entries that are not tags', async () => {
      const body = JSON.stringify({ tags: ['a', 7, null, '../x', 'b'.repeat(129), '-c', 'd'] });
      expect(await listed({ 'tags/list': { body } })).to.deep.equal(['a', 'd']);
    });

    it('tells a missing repository from a forbidden one', async () => {
      const unknown = await rejection(listed({}));
      expect(unknown).to.be.instanceOf(PackageUnknownError);
      const denied = await rejection(listed({ 'tags/list': { status: 403, body: '' } }));
      expect(denied).to.be.instanceOf(UpstreamDeniedError);
    });

    for (const [what, page, expected] of [
      ['denies entry', { status: 401, body: '' }, UpstreamDeniedError],
      ['fails', { status: 500, body: '' }, UpstreamUnavailableError],
      ['sends a manifest of more than 4 MiB', { body: ' '.repeat(5 << 20) }, PackageError],
    ] as const)
      it(`says so when the registry of a tag ${what}`, async () => {
        peer.answer({ [`manifests/${tag}`]: page });
        expect(await rejection(peer.catalog.fetchTagged(peer.upstream, tag, never))).to.be.instanceOf(expected);
      });

    for (const [how, expected] of [
      ['stall', UpstreamTimeoutError],
      ['reset', UpstreamUnavailableError],
    ] as const)
      it(`rejects in bounded time after a ${how}`, async () => {
        peer.fail(how);
        const asked = [
          peer.catalog.listTags(peer.upstream, never),
          peer.catalog.fetchTagged(peer.upstream, tag, never),
        ];
        for (const error of await Promise.all(asked.map(rejection))) expect(error).to.be.instanceOf(expected);
      });

    const image = makePackage(100);
    const type = { 'content-type': image.manifest.descriptor.mediaType };

    it('fetches the exact bytes of the manifest of a tag', async () => {
      peer.answer({ [`manifests/${tag}`]: { body: image.manifest.bytes, headers: type } });
      const bytes = await peer.catalog.fetchTagged(peer.upstream, tag, never);
      expect(Buffer.compare(bytes, image.manifest.bytes)).to.equal(0);
    });

    it('refuses a manifest whose digest is not the one in the answer', async () => {
      const headers = { ...type, 'docker-content-digest': makePackage(1).digest };
      peer.answer({ [`manifests/${tag}`]: { body: image.manifest.bytes, headers } });
      expect(await rejection(peer.catalog.fetchTagged(peer.upstream, tag, never))).to.be.instanceOf(
        DigestMismatchError,
      );
    });

    const subject = makePackage(7, 7).digest;
    const [one, two] = [makePackage(1, 1).digest, makePackage(2, 2).digest];
    const referrersOf = (...digests: readonly string[]): PageAnswer => ({
      headers: { 'content-type': 'application/vnd.oci.image.index.v1+json' },
      body: JSON.stringify({ manifests: digests.map((digest) => ({ digest, artifactType: 'application/x' })) }),
    });
    const listPath = `referrers/${subject}`;
    const tagPath = `manifests/${subject.replace(':', '-')}`;
    const referrers = async (pages: Pages): Promise<string[]> => {
      peer.answer(pages);
      const found = await peer.catalog.listReferrers(peer.upstream, subject, never);
      expect(found.every(({ artifactType }) => artifactType === 'application/x')).to.equal(true);
      return found.map(({ digest }) => digest);
    };

    it('lists the referrers of a manifest, from all pages', async () => {
      const link = `</v2/deckhouse/ee/${listPath}?last=1>; rel="next"`;
      const first = { ...referrersOf(one), headers: { link } };
      expect(await referrers({ [listPath]: first, [`${listPath}?last=1`]: referrersOf(two) })).to.deep.equal([
        one,
        two,
      ]);
      expect(await referrers({ [listPath]: referrersOf() })).to.deep.equal([]);
    });

    it('requests the referrers tag from a registry without a list of referrers', async () => {
      const html = { body: '<html><body>login</body></html>' };
      for (const answer of [{ status: 404, body: '' }, { status: 400, body: '' }, { status: 406, body: '' }, html]) {
        expect(await referrers({ [listPath]: answer, [tagPath]: referrersOf(one) })).to.deep.equal([one]);
      }
      expect(await referrers({})).to.deep.equal([]);
    });

    it('requests the referrers tag also if the list of referrers is empty', async () => {
      expect(await referrers({ [listPath]: referrersOf(), [tagPath]: referrersOf(one) })).to.deep.equal([one]);
      expect(await referrers({ [listPath]: referrersOf(two), [tagPath]: referrersOf(one) })).to.deep.equal([two]);
    });

    it('reads the annotation with the predicate type of a referrer', async () => {
      const annotations = { 'dev.sigstore.bundle.predicateType': 'https://example.com/a' };
      const manifests = [
        { digest: one, annotations },
        { digest: two, annotations: 7 },
      ];
      peer.answer({ [listPath]: { body: JSON.stringify({ manifests }) } });
      expect(await peer.catalog.listReferrers(peer.upstream, subject, never)).to.deep.equal([
        { digest: one, artifactType: undefined, predicateType: 'https://example.com/a' },
        { digest: two, artifactType: undefined, predicateType: undefined },
      ]);
    });

    it('leaves out referrers without a digest, and lists no more than 1000 of them', async () => {
      const body = JSON.stringify({
        manifests: [null, 7, { digest: 'sha256:x' }, { digest: one, artifactType: 'application/x' }],
      });
      expect(await referrers({ [listPath]: { body } })).to.deep.equal([one]);
      expect(await referrers({ [listPath]: referrersOf(...Array.from({ length: 1500 }, () => one)) })).to.have.lengthOf(
        1000,
      );
    });

    it('limits the pages of a list of referrers, and rejects when the registry fails', async () => {
      const link = '<?last=1>; rel="next"';
      const page = { ...referrersOf(one), headers: { link } };
      expect(await referrers({ [listPath]: page, [`${listPath}?last=1`]: page })).to.deep.equal([one, one]);
      expect(await rejection(referrers({ [listPath]: { status: 403, body: '' } }))).to.be.instanceOf(
        UpstreamDeniedError,
      );
      expect(await rejection(referrers({ [listPath]: { status: 500, body: '' } }))).to.be.instanceOf(
        UpstreamUnavailableError,
      );
      const large = { body: ' '.repeat(5 << 20) };
      expect(await rejection(referrers({ [listPath]: large }))).to.be.instanceOf(UpstreamUnavailableError);
    });

    it('rejects for a missing tag, and for an answer that is not a manifest', async () => {
      peer.answer({});
      const unknown = await rejection(peer.catalog.fetchTagged(peer.upstream, tag, never));
      expect(unknown).to.have.property('code', 'MANIFEST_UNKNOWN');
      peer.answer({ [`manifests/${tag}`]: { body: '<html><body>login</body></html>' } });
      const page = await rejection(peer.catalog.fetchTagged(peer.upstream, tag, never));
      expect(page).to.be.instanceOf(UpstreamUnavailableError);
    });
  });
}
