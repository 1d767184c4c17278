/** The contract of RegistryGateway: what every adapter and every fake of it promises. */
import { expect } from 'chai';
import {
  InvalidContentError,
  PackageError,
  PackageUnknownError,
  UpstreamDeniedError,
  UpstreamTimeoutError,
  UpstreamUnavailableError,
} from '../../src/domain/errors.ts';
import type { RegistryGateway } from '../../src/domain/ports/registry-gateway.ts';
import type { Upstream } from '../../src/domain/upstream.ts';
import { bytesOf, makeImage, makePackage, type TestImage } from '../support/image.ts';
import { rejection } from '../support/rejection.ts';

/** The ways in which a peer can violate the contract; each gateway lists those of its peer. */
export type Misbehaviour =
  | 'unbounded manifest'
  | 'short blob'
  | 'long blob'
  | 'stall'
  | 'stall in the middle'
  | 'reset'
  | 'reset in the middle'
  | 'server error'
  | 'denial';

export interface GatewayUnderTest {
  /** Makes the peer misbehave in each answer about an image that it has published. */
  readonly misbehave?: Partial<Readonly<Record<Misbehaviour, (image: TestImage) => void | Promise<void>>>>;
  readonly gateway: RegistryGateway;
  readonly upstream: Upstream;
  publish(image: TestImage): Promise<void>;
  close(): Promise<void>;
}

const never = new AbortController().signal;

export function describeRegistryGateway(name: string, make: () => Promise<GatewayUnderTest>): void {
  describe(`${name} is a RegistryGateway that`, () => {
    let peer: GatewayUnderTest;
    beforeEach(async () => {
      peer = await make();
    });
    afterEach(() => peer.close());

    for (const dialect of ['oci', 'docker'] as const) {
      it(`fetches the exact bytes of a manifest (${dialect})`, async () => {
        const image = makeImage([bytesOf(10), bytesOf(2000, 2)], dialect);
        await peer.publish(image);
        const manifest = await peer.gateway.fetchManifest(peer.upstream, image.digest, never);
        expect(Buffer.compare(manifest, image.manifest.bytes)).to.equal(0);
      });
    }

    it('fetches the exact bytes of a blob', async () => {
      const image = makePackage(1_000_003);
      await peer.publish(image);
      expect(Buffer.compare(await fetchBlob(peer, image, 0), image.layer.bytes)).to.equal(0);
    });

    it('fetches a blob from an offset on', async () => {
      const image = makePackage(300_000);
      await peer.publish(image);
      const tail = await fetchBlob(peer, image, 123_456);
      expect(Buffer.compare(tail, image.layer.bytes.subarray(123_456))).to.equal(0);
    });

    it('rejects with PackageUnknownError for a missing manifest', async () => {
      const error = await rejection(peer.gateway.fetchManifest(peer.upstream, makePackage(9, 99).digest, never));
      expect(error).to.be.instanceOf(PackageUnknownError);
      expect(error).to.have.property('code', 'MANIFEST_UNKNOWN');
    });

    it('rejects with PackageUnknownError for a missing blob', async () => {
      const absent = makePackage(9, 99).layer.descriptor;
      await peer.publish(makePackage(9));
      const error = await rejection(peer.gateway.fetchBlob(peer.upstream, absent, 0, never));
      expect(error).to.be.instanceOf(PackageUnknownError);
      expect(error).to.have.property('code', 'BLOB_UNKNOWN');
    });

    it('knows no refusal for content that was not requested yet, nor for content that was delivered', async () => {
      const image = makePackage(9);
      await peer.publish(image);
      const { digest } = image.layer.descriptor;
      const refusals = (): unknown[] => [
        peer.gateway.knownRefusal(peer.upstream, 'manifest', image.digest),
        peer.gateway.knownRefusal(peer.upstream, 'blob', digest),
      ];
      expect(refusals()).to.deep.equal([undefined, undefined]);
      await peer.gateway.fetchManifest(peer.upstream, image.digest, never);
      await fetchBlob(peer, image, 0);
      expect(refusals()).to.deep.equal([undefined, undefined]);
    });

    it('stops when its caller aborts', async () => {
      const image = makePackage(1000);
      await peer.publish(image);
      const signal = AbortSignal.abort(new Error('gone'));
      await rejection(peer.gateway.fetchManifest(peer.upstream, image.digest, signal));
      await rejection(peer.gateway.fetchBlob(peer.upstream, image.layer.descriptor, 0, signal));
    });

    describe('with a faulty peer', () => {
      const image = makePackage(300_000);
      const begin = async function (this: Mocha.Context, how: Misbehaviour): Promise<void> {
        await peer.publish(image);
        const misbehave = peer.misbehave?.[how];
        if (misbehave === undefined) this.skip();
        await misbehave(image);
      };
      const manifest = (): Promise<Error> => rejection(peer.gateway.fetchManifest(peer.upstream, image.digest, never));
      const blob = (): Promise<Error> => rejection(fetchBlob(peer, image, 0));

      it('reads at most 4 MiB of a manifest', async function () {
        await begin.call(this, 'unbounded manifest');
        expect(await manifest()).to.be.instanceOf(InvalidContentError);
      });

      for (const how of ['short blob', 'long blob'] as const)
        it(`never ends a ${how} as if it were whole`, async function () {
          await begin.call(this, how);
          expect(await blob()).to.be.instanceOf(UpstreamUnavailableError);
        });

      for (const [how, expected] of [
        ['stall', UpstreamTimeoutError],
        ['reset', UpstreamUnavailableError],
        ['server error', UpstreamUnavailableError],
        ['denial', UpstreamDeniedError],
      ] as const)
        it(`rejects in bounded time after a ${how}`, async function () {
          await begin.call(this, how);
          for (const error of await Promise.all([manifest(), blob()])) expect(error).to.be.instanceOf(expected);
        });

      for (const how of ['stall in the middle', 'reset in the middle'] as const)
        it(`ends a blob by an error after a ${how}`, async function () {
          await begin.call(this, how);
          expect(await blob()).to.be.instanceOf(PackageError);
        });
    });

    it('ends the request when its caller leaves in the middle of a blob', async () => {
      const image = makePackage(3_000_000);
      await peer.publish(image);
      for await (const chunk of await peer.gateway.fetchBlob(peer.upstream, image.layer.descriptor, 0, never)) {
        expect(chunk.byteLength).to.be.greaterThan(0);
        break;
      }
      expect(Buffer.compare(await fetchBlob(peer, image, 0), image.layer.bytes)).to.equal(0);
    });
  });
}

async function fetchBlob(peer: GatewayUnderTest, image: TestImage, offset: number): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of await peer.gateway.fetchBlob(peer.upstream, image.layer.descriptor, offset, never)) {
    chunks.push(new Uint8Array(chunk));
  }
  return Buffer.concat(chunks);
}
