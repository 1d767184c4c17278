import { expect } from 'chai';
import { describeWithAll } from '../support/peers/binaries.ts';
import { PeerRegistry } from '../support/peers/peer-registry.ts';
import { Front } from '../support/fronts/front.ts';
import { Relay } from '../support/fronts/relay.ts';
import { CACHES } from '../support/fronts/caches.ts';
import { REVERSE_PROXIES } from '../support/fronts/reverse-proxies.ts';
import { bytesOf, makeImage, type TestImage } from '../support/image.ts';
import { ServiceProcess } from '../support/service-process.ts';
import { CA } from '../support/tls/certificates.ts';

const MIB = 1024 * 1024;
/** The service has this much of a layer when a connection ends. */
const CUT_AFTER = 3 * MIB;

/** Bytes that compress a little: a front that encodes what it passes on does so. */
function image(seed: number, size = 8 * MIB): TestImage {
  const bytes = bytesOf(size, seed);
  for (let at = 0; at < size; at += 16) bytes.fill(0, at, at + 8);
  return makeImage([bytesOf(1000, seed), bytes]);
}

for (const kind of [...REVERSE_PROXIES, ...CACHES]) {
  describeWithAll(['docker-registry', ...kind.programs], (paths) => {
    describe(`the service behind ${kind.name}, before a real registry`, () => {
      let registry: PeerRegistry;
      let front: Front;
      let behind: Relay;
      let ahead: Relay;
      let service: ServiceProcess;

      before(async () => {
        registry = await PeerRegistry.start({ program: 'docker-registry', path: paths['docker-registry'] });
        behind = await Relay.start(() => Number(registry.host.split(':')[1]));
        front = await Front.start(kind, paths, behind.port);
        ahead = await Relay.start(() => front.port);
        const port = String(ahead.port);
        service = await ServiceProcess.start({
          settings: {
            credentials: {
              registries: [
                { repo: `127.0.0.1:${port}/deckhouse/ee`, default: true, scheme: 'HTTPS', ca: CA },
                { repo: `localhost:${port}/deckhouse/ee`, scheme: 'HTTPS' },
              ],
            },
          },
        });
      });
      after(async () => {
        // A failure of the hook above is the one that is shown.
        for (const part of [service, ahead, front, behind, registry]) await (part as typeof part | undefined)?.close();
      });

      const fetch = (digest: string, headers: Record<string, string> = {}) =>
        service.client(`package?digest=${digest}`, { responseType: 'buffer', headers });

      async function expectWhole(wanted: TestImage, outcome: RegExp): Promise<void> {
        const { statusCode, body, headers } = await fetch(wanted.digest);
        expect(statusCode, body.subarray(0, 200).toString()).to.equal(200);
        expect(Buffer.compare(body, wanted.layer.bytes)).to.equal(0);
        expect(headers['cache-status']).to.match(outcome);
      }

      it('delivers a package byte for byte, and the second time without the front', async () => {
        const wanted = image(1);
        await registry.publish(wanted);
        await expectWhole(wanted, /fwd=/);
        const asked = registry.accessLog.length;
        await expectWhole(wanted, /hit/);
        expect(registry.accessLog).to.have.lengthOf(asked);
      });

      it('resumes a download whose connection to the front ends in the middle', async () => {
        const wanted = image(2);
        await registry.publish(wanted);
        ahead.cutAfter(CUT_AFTER);
        await expectWhole(wanted, /fwd=/);
        expect(ahead.hasCut).to.equal(true);
      });

      it('resumes a download whose front loses the registry in the middle', async () => {
        const wanted = image(3);
        await registry.publish(wanted);
        behind.cutAfter(CUT_AFTER);
        await expectWhole(wanted, /fwd=/);
        expect(behind.hasCut).to.equal(true);
      });

      it('answers a range of a package that is not cached', async () => {
        const wanted = image(4, MIB);
        await registry.publish(wanted);
        const { statusCode, body } = await fetch(wanted.digest, { range: 'bytes=1000-299999' });
        expect(statusCode).to.equal(206);
        expect(Buffer.compare(body, wanted.layer.bytes.subarray(1000, 300_000))).to.equal(0);
      });

      it('refuses the certificate of the front where the registry has no CA of its own', async () => {
        const query = `digest=${image(5, 10).digest}&repository=localhost:${String(ahead.port)}/deckhouse/ee`;
        const { statusCode } = await service.client(`package?${query}`);
        expect(statusCode).to.equal(502);
        expect(JSON.stringify(await service.logged('request', { status: 502 }))).to.match(
          /UNABLE_TO_VERIFY_LEAF_SIGNATURE/,
        );
      });
    });
  });
}
