import { expect } from 'chai';
import { chmod, writeFile } from 'node:fs/promises';
import { S3Gateway } from '../../src/adapters/s3/s3-gateway.ts';
import { digestOf } from '../../src/domain/descriptor.ts';
import { PackageUnknownError, UpstreamDeniedError } from '../../src/domain/errors.ts';
import { describeRegistryGateway } from '../contract/registry-gateway.ts';
import { ACCESS_KEY } from '../support/fake-bucket.ts';
import { bytesOf, makePackage } from '../support/image.ts';
import { describeWith, findProgram } from '../support/peers/binaries.ts';
import { type BucketProgram, PATIENCE_MS, PeerBucket } from '../support/peers/peer-bucket.ts';
import { UPSTREAM } from '../support/ports.ts';
import { rejection } from '../support/rejection.ts';
import { keysOf, makeS3Gateway } from '../support/s3-gateway.ts';
import { chunksOf } from '../support/source.ts';

const never = new AbortController().signal;

/** SeaweedFS takes minutes to build, so it is optional. */
const PROGRAMS: readonly BucketProgram[] = [
  ...(['versitygw', 's3s-fs', 'rclone'] as const),
  ...(findProgram('seaweedfs') === undefined ? [] : (['seaweedfs'] as const)),
];

for (const program of PROGRAMS) {
  describeWith(program, (path) => {
    describe(`a bucket of ${program}`, function () {
      this.timeout(60_000);
      let peer: PeerBucket;
      before(async () => {
        peer = await PeerBucket.start(program, path);
      });
      after(() => peer.close());

      describeRegistryGateway(`${S3Gateway.name} to ${program}`, async () => ({
        gateway: makeS3Gateway(peer.bucket(), undefined, PATIENCE_MS),
        upstream: UPSTREAM,
        publish: (image) => peer.publish(image),
        close: async () => undefined,
      }));

      const bytes = bytesOf(16_000_000, 3);
      const digest = digestOf(bytes);
      const size = bytes.byteLength;

      it('stores an object, reports that it exists, and stores it a second time', async () => {
        const bucket = peer.bucket();
        expect(await bucket.stateOf(digest, size, never)).to.equal('absent');
        for (let times = 0; times < 2; times++) {
          await bucket.put(digest, { size, open: () => chunksOf(bytes, 500_000) }, never);
          expect(await bucket.stateOf(digest, size, never)).to.equal('there');
        }
      });

      it('refuses bytes with another digest', async () => {
        const bucket = peer.bucket();
        const wanted = digestOf(Buffer.from(`other bytes for ${program}`));
        const upload = { size, open: () => chunksOf(bytes, 500_000) };
        await rejection(bucket.put(wanted, upload, never));
        expect(await bucket.stateOf(wanted, size, never)).to.equal('absent');
      });

      it('refuses clients without a valid key, also while they send a body', async () => {
        const image = makePackage(1000, 77);
        await peer.publish(image);
        for (const keys of [keysOf(ACCESS_KEY, 'canary-wrong'), keysOf('STRANGER', 'canary-wrong')]) {
          const bucket = peer.bucket({ keys });
          const asked = makeS3Gateway(bucket).fetchManifest(UPSTREAM, image.digest, never);
          expect(await rejection(asked)).to.be.instanceOf(UpstreamDeniedError);
          await rejection(bucket.put(digest, { size, open: () => chunksOf(bytes, 500_000) }, never));
        }
      });

      it('reports a missing bucket differently from a missing object', async () => {
        const bucket = peer.bucket({ name: 'absent' });
        expect(await rejection(bucket.check(never))).not.to.be.instanceOf(PackageUnknownError);
      });

      it('finds an object only under the prefix of the settings', async () => {
        const bucket = peer.bucket({ prefix: 'site/a/' });
        const small = Buffer.from('with a prefix');
        const upload = { size: small.byteLength, open: () => chunksOf(small) };
        await bucket.put(digestOf(small), upload, never);
        expect(await bucket.stateOf(digestOf(small), small.byteLength, never)).to.equal('there');
        expect(await peer.bucket().stateOf(digestOf(small), small.byteLength, never)).to.equal('absent');
      });

      it('keeps no part of an object whose PUT was killed', async () => {
        const late = bytesOf(8_000_000, 11);
        const sent = Promise.withResolvers<undefined>();
        const open = async function* (): AsyncGenerator<Uint8Array> {
          yield late.subarray(0, 4_000_000);
          sent.resolve(undefined);
          await new Promise(() => undefined);
        };
        const signal = AbortSignal.timeout(20_000);
        const writing = rejection(peer.bucket().put(digestOf(late), { size: late.byteLength, open }, signal));
        await sent.promise;
        await peer.kill();
        await writing;
        await peer.restart();
        const bucket = peer.bucket();
        expect(await bucket.stateOf(digestOf(late), late.byteLength, never)).not.to.equal('there');
        await bucket.put(digestOf(late), { size: late.byteLength, open: () => chunksOf(late, 500_000) }, never);
        expect(await bucket.stateOf(digestOf(late), late.byteLength, never)).to.equal('there');
      });
    });
  });
}

describeWith('versitygw', (path) => {
  it('rejects an object with rotten bytes on the server as DIGEST_MISMATCH', async function () {
    this.timeout(60_000);
    const peer = await PeerBucket.start('versitygw', path);
    try {
      const image = makePackage(1000, 5);
      await peer.publish(image);
      const file = peer.fileOf(image.digest);
      await chmod(file, 0o600);
      await writeFile(file, Buffer.alloc(image.manifest.bytes.byteLength, 'x'), { flag: 'r+' });
      const asked = makeS3Gateway(peer.bucket()).fetchManifest(UPSTREAM, image.digest, never);
      expect(await rejection(asked)).to.have.property('code', 'DIGEST_MISMATCH');
    } finally {
      await peer.close();
    }
  });
});
