import { expect } from 'chai';
import { describeRegistryGateway } from '../contract/registry-gateway.ts';
import { PASSWORD, USERNAME } from '../support/fake-registry.ts';
import { Relay } from '../support/fronts/relay.ts';
import { makePackage, type TestImage } from '../support/image.ts';
import { describeWith, findProgram, type Program } from '../support/peers/binaries.ts';
import { Gitea } from '../support/peers/gitea.ts';
import { type PeerOptions, PeerRegistry } from '../support/peers/peer-registry.ts';
import { makeRegistryGateway } from '../support/registry-gateway.ts';
import { ServiceProcess } from '../support/service-process.ts';
import { CA } from '../support/tls/certificates.ts';

const MIB = 1024 * 1024;
/** The service has this much of a layer when its connection ends. */
const CUT_AFTER = 3 * MIB;

const variants: [program: Program, what: string, options: Partial<PeerOptions>][] = [
  ['docker-registry', 'over HTTP', {}],
  ['docker-registry', 'with a password', { basicAuth: true }],
  ['docker-registry', 'over HTTPS with a CA of its own', { tls: true }],
  ['docker-registry', 'over HTTPS with a password', { tls: true, basicAuth: true }],
  ['distribution-registry', 'over HTTP', {}],
  ['distribution-registry', 'over HTTPS with a password', { tls: true, basicAuth: true }],
  ['crane', 'over HTTP', {}],
  ['ocimem', 'over HTTP', {}],
];

for (const [program, what, options] of variants) {
  describeWith(program, (path) => {
    const start = (): Promise<PeerRegistry> => PeerRegistry.start({ program, path, ...options });
    describeRegistryGateway(`OciRegistryGateway to ${program} ${what}`, async () => {
      const peer = await start();
      return {
        gateway: makeRegistryGateway({ headersTimeoutMs: 10_000 }),
        upstream: peer.upstream(),
        publish: (image) => peer.publish(image),
        close: () => peer.close(),
      };
    });

    describeService(`${program} ${what}`, async (relay) => {
      const peer = await start();
      relay.lead(Number(peer.host.split(':')[1]));
      const entrance = {
        ...(options.basicAuth === true && { username: USERNAME, password: PASSWORD }),
        ...(options.tls === true ? { ca: CA } : { scheme: 'HTTP' }),
      };
      return { entrance, publish: (image) => peer.publish(image), close: () => peer.close() };
    });
  });
}

// Gitea takes minutes to build, so it is optional.
const gitea = findProgram('gitea');
if (gitea === undefined) it.skip('gitea not here: tools/peers.sh --long installs it');
else {
  describeRegistryGateway('OciRegistryGateway to Gitea', async () => {
    const peer = await Gitea.start({ path: gitea });
    return {
      gateway: makeRegistryGateway({ headersTimeoutMs: 10_000 }),
      upstream: peer.upstream(),
      publish: (image) => peer.publish(image),
      close: () => peer.close(),
    };
  });

  describeService('Gitea over HTTPS with tokens of its own', async (relay) => {
    const peer = await Gitea.start({ path: gitea, host: relay.host });
    relay.lead(peer.port);
    const entrance = { ...peer.credentials, ca: CA };
    return { entrance, publish: (image) => peer.publish(image), close: () => peer.close() };
  });
}

interface Served {
  /** Fields of the settings beside `repo`. */
  readonly entrance: object;
  publish(image: TestImage): Promise<void>;
  close(): Promise<void>;
}

interface Way {
  readonly host: string;
  lead(port: number): void;
}

/** The service connects to the registry through a relay, whose connections a test can end. */
function describeService(name: string, start: (relay: Way) => Promise<Served>): void {
  describe(`the service before ${name}`, () => {
    let port = 0;
    let relay: Relay;
    let registry: Served;
    let service: ServiceProcess;

    before(async () => {
      relay = await Relay.start(() => port);
      const host = `127.0.0.1:${String(relay.port)}`;
      registry = await start({ host, lead: (to) => (port = to) });
      const registries = [{ repo: `${host}/deckhouse/ee`, default: true, ...registry.entrance }];
      service = await ServiceProcess.start({ settings: { credentials: { registries } } });
    });
    after(async () => {
      // After a failed hook some parts are undefined; the report must show that failure.
      for (const part of [service, relay, registry]) await (part as typeof part | undefined)?.close();
    });

    async function expectWhole(image: TestImage, outcome: RegExp): Promise<void> {
      const { statusCode, body, headers } = await service.client(`package?digest=${image.digest}`, {
        responseType: 'buffer',
      });
      expect(statusCode, body.subarray(0, 200).toString()).to.equal(200);
      expect(Buffer.compare(body, image.layer.bytes)).to.equal(0);
      expect(headers['cache-status']).to.match(outcome);
    }

    it('delivers the exact bytes of a package, and the second time from the cache', async () => {
      const image = makePackage(8 * MIB, 1);
      await registry.publish(image);
      await expectWhole(image, /fwd=/);
      await expectWhole(image, /hit/);
    });

    it('resumes a download whose connection ends in the middle', async () => {
      const image = makePackage(8 * MIB, 2);
      await registry.publish(image);
      relay.cutAfter(CUT_AFTER);
      await expectWhole(image, /fwd=/);
      expect(relay.hasCut).to.equal(true);
    });

    it('answers a range of a package that is not cached', async () => {
      const image = makePackage(MIB, 3);
      await registry.publish(image);
      const { statusCode, body } = await service.client(`package?digest=${image.digest}`, {
        responseType: 'buffer',
        headers: { range: 'bytes=1000-299999' },
      });
      expect(statusCode).to.equal(206);
      expect(Buffer.compare(body, image.layer.bytes.subarray(1000, 300_000))).to.equal(0);
    });
  });
}
