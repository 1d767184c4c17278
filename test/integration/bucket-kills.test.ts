import { expect } from 'chai';
import type { Digest } from '../../src/domain/descriptor.ts';
import { eventually } from '../support/eventually.ts';
import { BUCKET } from '../support/fake-bucket.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { HeldRelay } from '../support/held-relay.ts';
import { makePackage, type TestImage } from '../support/image.ts';
import { describeWith } from '../support/peers/binaries.ts';
import { type BucketProgram, PeerBucket } from '../support/peers/peer-bucket.ts';
import { ServiceProcess } from '../support/service-process.ts';

const MIB = 1024 * 1024;
const never = new AbortController().signal;
const PROGRAMS: readonly BucketProgram[] = ['versitygw', 's3s-fs', 'rclone'];

for (const program of PROGRAMS) {
  describeWith(program, (path) => {
    describe(`a PUT to ${program}, during which`, function () {
      this.timeout(120_000);
      let peer: PeerBucket;
      let relay: HeldRelay;
      let registry: FakeRegistry;
      let host: string;
      beforeEach(async () => {
        peer = await PeerBucket.start(program, path);
        relay = await HeldRelay.start(Number(peer.endpoint.port));
        registry = await FakeRegistry.start();
        host = registry.host;
      });
      afterEach(async () => {
        await relay.close();
        await registry.close();
        await peer.close();
      });

      const start = async (): Promise<ServiceProcess> =>
        ServiceProcess.start({
          settings: {
            registry: {
              timeouts: { retrySeconds: 0 },
              bucket: { endpoint: relay.origin, name: BUCKET, credentials: { directory: await peer.keys() } },
              // Generous limits, because a machine under load is slow.
              sources: { patienceMilliseconds: 20_000, minimumRate: 0 },
            },
            credentials: { registries: [{ repo: `${host}/modules`, default: true, scheme: 'HTTP' }] },
          },
        });
      const isRight = async (service: ServiceProcess, { digest, layer }: TestImage): Promise<void> => {
        const options = { searchParams: { digest }, responseType: 'buffer' } as const;
        const { statusCode, rawBody } = await service.client('package', options);
        expect(statusCode).to.equal(200);
        expect(Buffer.compare(rawBody, layer.bytes)).to.equal(0);
      };
      const stateOf = ({ layer: { descriptor } }: TestImage): Promise<string> =>
        peer.bucket().stateOf(descriptor.digest, descriptor.size, never);
      const becomesWhole = async (image: TestImage): Promise<void> => {
        await eventually(async () => {
          expect(await stateOf(image)).to.equal('there');
        }, 30_000);
        const digest: Digest = image.layer.descriptor.digest;
        expect(Buffer.compare(await peer.read(digest), image.layer.bytes)).to.equal(0);
      };

      it('the service is killed, leaves no object, and the next replica serves and writes the whole object', async () => {
        const image = makePackage(8 * MIB, 21);
        registry.publish(image);
        const held = relay.holdAfter(MIB);
        const killed = await start();
        await isRight(killed, image);
        await held;
        await killed.end('SIGKILL');
        await killed.close();
        expect(await stateOf(image)).to.equal('absent');
        relay.release();
        const next = await start();
        await isRight(next, image);
        await becomesWhole(image);
        await next.close();
        await registry.close();
        const last = await start();
        await isRight(last, image);
        await last.close();
        registry = await FakeRegistry.start();
      });

      it('the bucket is killed, fails no request, and the object is whole after the next write', async () => {
        const [image, other] = [makePackage(8 * MIB, 22), makePackage(MIB, 23)];
        registry.publish(image, other);
        const held = relay.holdAfter(MIB);
        const service = await start();
        await isRight(service, image);
        await held;
        await peer.kill();
        await isRight(service, other);
        await service.logged('blob not written to the bucket');
        await isRight(service, image);
        await service.close();
        await peer.restart();
        expect(await stateOf(image)).not.to.equal('there');
        relay.release();
        const next = await start();
        await isRight(next, image);
        await becomesWhole(image);
        await next.close();
      });
    });
  });
}
