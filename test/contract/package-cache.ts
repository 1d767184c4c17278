/** The contract of PackageCache: what every adapter of it promises, with registries that misbehave. */
import { expect } from 'chai';
import { PackageUnknownError, UpstreamThrottledError, UpstreamUnavailableError } from '../../src/domain/errors.ts';
import type { PackageCache } from '../../src/domain/ports/package-cache.ts';
import { DEFAULT_REPOSITORY, type PackageRequest } from '../../src/domain/reference.ts';
import { bytesOf, makePackage } from '../support/image.ts';
import { type StubbedGateway, stubGateway } from '../support/ports.ts';
import { rejection } from '../support/rejection.ts';
import { chunksOf } from '../support/source.ts';

export interface CacheUnderTest {
  readonly cache: PackageCache;
  close(): Promise<void>;
}

const never = new AbortController().signal;
const SIZE = 300_000;

export function describePackageCache(
  name: string,
  make: (gateway: StubbedGateway, maxBytes: number) => Promise<CacheUnderTest>,
): void {
  describe(`${name} is a PackageCache that`, () => {
    const image = makePackage(SIZE);
    const request: PackageRequest = { digest: image.digest, repository: DEFAULT_REPOSITORY, path: undefined };
    let gateway: StubbedGateway;
    let peer: CacheUnderTest;
    const begin = async (maxBytes = 10 * SIZE): Promise<void> => {
      gateway = stubGateway(image);
      peer = await make(gateway, maxBytes);
    };
    afterEach(() => peer.close());
    const fetch = (onBytes: (bytes: number) => void = () => undefined, signal = never): Promise<boolean> =>
      peer.cache.fetch(request, onBytes, signal);

    it('fetches a whole package, and reports it as cached the next time', async () => {
      await begin();
      expect(await peer.cache.has(request, never)).to.equal(false);
      let bytes = 0;
      const count = (piece: number): void => {
        bytes += piece;
      };
      expect(await fetch(count)).to.equal(false);
      expect(bytes).to.equal(SIZE);
      expect(await peer.cache.has(request, never)).to.equal(true);
      expect(await fetch(count)).to.equal(true);
      expect(bytes).to.equal(2 * SIZE);
    });

    const misbehaviours: [what: string, misbehave: (gateway: StubbedGateway) => unknown][] = [
      [
        'has no such package',
        ({ fetchManifest }) => fetchManifest.rejects(new PackageUnknownError('MANIFEST_UNKNOWN')),
      ],
      ['fails', ({ fetchBlob }) => fetchBlob.rejects(new UpstreamUnavailableError())],
      ['sends another manifest', ({ fetchManifest }) => fetchManifest.resolves(makePackage(5).manifest.bytes)],
      ['sends wrong bytes', ({ fetchBlob }) => fetchBlob.callsFake(async () => chunksOf(bytesOf(SIZE, 9)))],
      [
        'sends too few bytes',
        ({ fetchBlob }) => fetchBlob.callsFake(async () => chunksOf(image.layer.bytes.subarray(1))),
      ],
      [
        'sends too many bytes',
        ({ fetchBlob }) =>
          fetchBlob.callsFake(async () => chunksOf(Buffer.concat([image.layer.bytes, image.layer.bytes]))),
      ],
      [
        'breaks off again and again',
        ({ fetchBlob }) =>
          fetchBlob.callsFake(async (_upstream, _blob, offset) =>
            (async function* () {
              yield image.layer.bytes.subarray(offset, offset + 1000);
              throw new UpstreamUnavailableError();
            })(),
          ),
      ],
    ];
    for (const [what, misbehave] of misbehaviours)
      it(`rejects and caches nothing when the registry ${what}`, async () => {
        await begin();
        misbehave(gateway);
        await rejection(fetch());
        const has = await peer.cache.has(request, never).catch(() => false);
        expect(has).to.equal(false);
      });

    it('rejects with the Retry-After of the registry', async () => {
      await begin();
      gateway.fetchManifest.onFirstCall().rejects(new UpstreamThrottledError(7));
      const error = await rejection(fetch());
      expect(error).to.be.instanceOf(UpstreamThrottledError).and.have.property('retryAfterSeconds', 7);
      expect(await fetch()).to.equal(false);
    });

    it('rejects if the cache has no room for the package', async () => {
      await begin(SIZE / 2);
      await rejection(fetch());
      expect(await peer.cache.has(request, never)).to.equal(false);
    });

    it('ends with the reason of its signal', async () => {
      await begin();
      const interruption = new AbortController();
      const reason = new Error('enough');
      const interrupt = (): void => {
        interruption.abort(reason);
      };
      expect(await rejection(fetch(interrupt, interruption.signal))).to.equal(reason);
      expect(await rejection(fetch(undefined, interruption.signal))).to.equal(reason);
    });
  });
}
