import { digestHex } from '../../src/domain/descriptor.ts';
import { S3Gateway } from '../../src/adapters/s3/s3-gateway.ts';
import { FakeBucket, refuse } from '../support/fake-bucket.ts';
import type { TestImage } from '../support/image.ts';
import { UPSTREAM } from '../support/ports.ts';
import { makeBucket, makeS3Gateway } from '../support/s3-gateway.ts';
import { describeRegistryGateway } from './registry-gateway.ts';

describeRegistryGateway(S3Gateway.name, async () => {
  const bucket = await FakeBucket.start();
  /** Answers each GET of an object of the image. */
  const instead =
    (answer: (bytes: Uint8Array, response: Parameters<typeof refuse>[0]) => void) =>
    (image: TestImage): void => {
      bucket.script(({ method, url }, response) => {
        const blob = [image.manifest, ...image.blobs].find(({ descriptor }) =>
          url.endsWith(digestHex(descriptor.digest)),
        );
        if (method !== 'GET' || blob === undefined) return false;
        answer(blob.bytes, response);
        return true;
      });
    };
  return {
    gateway: makeS3Gateway(makeBucket({ endpoint: bucket.endpoint })),
    upstream: UPSTREAM,
    publish: (image) => {
      bucket.publish(image);
      return Promise.resolve();
    },
    misbehave: {
      'unbounded manifest': ({ digest }) => {
        bucket.put(digest, Buffer.alloc(5 << 20, ' '), false);
      },
      'short blob': ({ layer }) => {
        bucket.put(layer.descriptor.digest, layer.bytes.subarray(1), false);
      },
      'long blob': ({ layer }) => {
        bucket.put(layer.descriptor.digest, Buffer.concat([layer.bytes, layer.bytes]), false);
      },
      stall: instead(() => undefined),
      'stall in the middle': instead((bytes, response) => {
        response.writeHead(200, { 'content-length': bytes.byteLength });
        response.write(bytes.subarray(0, bytes.byteLength / 2));
      }),
      reset: instead((_bytes, response) => response.socket?.destroy()),
      'reset in the middle': instead((bytes, response) => {
        response.writeHead(200, { 'content-length': bytes.byteLength });
        response.write(bytes.subarray(0, bytes.byteLength / 2), () => response.socket?.destroy());
      }),
      'server error': instead((_bytes, response) => {
        refuse(response, 500, 'InternalError');
      }),
      denial: instead((_bytes, response) => {
        refuse(response, 403, 'AccessDenied');
      }),
    },
    close: () => bucket.close(),
  };
});
