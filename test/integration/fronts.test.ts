import { expect } from 'chai';
import got from 'got';
import { describeWithAll } from '../support/peers/binaries.ts';
import { PeerRegistry } from '../support/peers/peer-registry.ts';
import { Front } from '../support/fronts/front.ts';
import { Relay } from '../support/fronts/relay.ts';
import { CACHES } from '../support/fronts/caches.ts';
import { COMPRESSOR, REVERSE_PROXIES } from '../support/fronts/reverse-proxies.ts';
import { bytesOf, makeImage, type TestImage } from '../support/image.ts';
import { ServiceProcess } from '../support/service-process.ts';
import { CA } from '../support/tls/certificates.ts';

const MIB = 1024 * 1024;
/** The service has this much of a layer when a connection ends. */
const CUT_AFTER = 3 * MIB;

/** An image that compresses a little, so that a compressing front encodes it. */
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
        // After a failed hook some parts are undefined; the report must show that failure.
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

      it('delivers the exact bytes of a package, and the second time without the front', async () => {
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

      if (kind.asksForPatience !== true) {
        it('retries a front that does not reach the registry at first', async () => {
          const wanted = image(7);
          await registry.publish(wanted);
          behind.leave(1);
          await expectWhole(wanted, /fwd=/);
          expect(behind.isBack).to.equal(true);
        });
      }

      it('answers a range of a package that is not cached', async () => {
        const wanted = image(4, MIB);
        await registry.publish(wanted);
        const { statusCode, body } = await fetch(wanted.digest, { range: 'bytes=1000-299999' });
        expect(statusCode).to.equal(206);
        expect(Buffer.compare(body, wanted.layer.bytes.subarray(1000, 300_000))).to.equal(0);
      });

      it('refuses the certificate of the front if the registry has no CA in the settings', async () => {
        const query = `digest=${image(5, 10).digest}&repository=localhost:${String(ahead.port)}/deckhouse/ee`;
        const { statusCode } = await service.client(`package?${query}`);
        expect(statusCode).to.equal(502);
        expect(JSON.stringify(await service.logged('request', { status: 502 }))).to.match(
          /UNABLE_TO_(VERIFY_LEAF_SIGNATURE|GET_ISSUER_CERT_LOCALLY)/,
        );
      });
    });
  });
}

for (const kind of CACHES) {
  describeWithAll(['docker-registry', ...COMPRESSOR.programs, ...kind.programs], (paths) => {
    describe(`the service behind ${kind.name}, before an nginx that compresses`, () => {
      const parts: { close(): Promise<void> }[] = [];
      const started = <Part extends { close(): Promise<void> }>(part: Part): Part => {
        parts.unshift(part);
        return part;
      };
      let registry: PeerRegistry;
      let front: Front;
      let service: ServiceProcess;

      before(async () => {
        const peer = { program: 'docker-registry', path: paths['docker-registry'] } as const;
        registry = started(await PeerRegistry.start(peer));
        const compressor = started(await Front.start(COMPRESSOR, paths, Number(registry.host.split(':')[1])));
        front = started(await Front.start(kind, paths, compressor.port));
        const repo = `127.0.0.1:${String(front.port)}/deckhouse/ee`;
        const settings = { credentials: { registries: [{ repo, default: true, scheme: 'HTTPS', ca: CA }] } };
        service = started(await ServiceProcess.start({ settings }));
      });
      after(async () => {
        for (const part of parts) await part.close();
      });

      it('delivers a package that the cache has encoded for another client', async () => {
        const wanted = image(6, MIB);
        await registry.publish(wanted);
        const client = got.extend({
          prefixUrl: `https://127.0.0.1:${String(front.port)}/v2/deckhouse/ee`,
          https: { certificateAuthority: CA },
          decompress: false,
          retry: { limit: 0 },
        });
        const { manifest, layer } = wanted;
        const paths = [`manifests/${manifest.descriptor.digest}`, `blobs/${layer.descriptor.digest}`];
        for (const path of paths) {
          const accept = manifest.descriptor.mediaType;
          const { headers } = await client(path, { headers: { accept, 'accept-encoding': 'gzip' } });
          expect(headers['content-encoding'], path).to.equal('gzip');
        }
        const { statusCode, body } = await service.client(`package?digest=${wanted.digest}`, {
          responseType: 'buffer',
        });
        expect(statusCode, service.output.slice(-2000)).to.equal(200);
        expect(Buffer.compare(body, layer.bytes)).to.equal(0);
      });
    });
  });
}
