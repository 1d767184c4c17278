import { expect } from 'chai';
import { CA } from '../support/tls/certificates.ts';
import { PASSWORD, USERNAME } from '../support/fake-registry.ts';
import { bytesOf, makeImage, makePackage } from '../support/image.ts';
import { describeWith } from '../support/peers/binaries.ts';
import { type PeerOptions, PeerRegistry } from '../support/peers/peer-registry.ts';
import { type ServiceOptions, ServiceProcess } from '../support/service-process.ts';

const MIB = 1024 * 1024;

describeWith('docker-registry', (path) => {
  describe('the service in front of docker-registry', () => {
    let peer: PeerRegistry;
    let service: ServiceProcess;

    async function start(options: Partial<PeerOptions>, password = PASSWORD): Promise<void> {
      peer = await PeerRegistry.start({ program: 'docker-registry', path, ...options });
      const registry = {
        repo: peer.repo,
        default: true,
        scheme: options.tls === true ? 'HTTPS' : 'HTTP',
        ...(options.tls === true && { ca: CA }),
        ...(options.basicAuth === true && { username: USERNAME, password }),
      };
      service = await ServiceProcess.start({
        settings: { store: { directory: 'cache' }, credentials: { registries: [registry] } },
      } satisfies ServiceOptions);
    }
    afterEach(async () => {
      await service.close();
      await peer.close();
    });

    for (const options of [{}, { basicAuth: true }, { tls: true }, { tls: true, basicAuth: true }]) {
      it(`delivers the exact bytes of 64 MiB, and the second time without the registry (${JSON.stringify(options)})`, async () => {
        await start(options);
        const image = makeImage([bytesOf(1000), bytesOf(64 * MIB, 2)]);
        await peer.publish(image);
        const fetch = () => service.client(`package?digest=${image.digest}`, { responseType: 'buffer' });
        const first = await fetch();
        expect(first.statusCode).to.equal(200);
        expect(Buffer.compare(first.body, image.layer.bytes)).to.equal(0);
        const asked = peer.accessLog.length;
        expect(asked).to.be.greaterThan(0);
        const second = await fetch();
        expect(Buffer.compare(second.body, image.layer.bytes)).to.equal(0);
        expect(second.headers['cache-status']).to.equal('registry-packages-proxy; hit');
        expect(peer.accessLog).to.have.lengthOf(asked);
      });
    }

    it('answers 502 for a wrong password, never 401', async () => {
      await start({ basicAuth: true }, 'canary-wrong');
      const response = await service.client(`package?digest=${makePackage(1).digest}`);
      expect(response.statusCode).to.equal(502);
      expect(response.headers).not.to.have.property('www-authenticate');
    });

    it('answers 404 for an unknown digest', async () => {
      await start({});
      await peer.publish(makePackage(10));
      const response = await service.client(`package?digest=${makePackage(1, 2).digest}`);
      expect(response.statusCode).to.equal(404);
      expect(response.body).to.equal('package not found\n');
    });

    it('does not send invalid requests to the registry', async () => {
      await start({});
      const { digest } = makePackage(1);
      for (const query of [
        'digest=latest',
        'digest=sha256:XYZ',
        `digest=${digest}%0d%0a`,
        `digest=${digest}&path=../x`,
      ]) {
        expect((await service.client(`package?${query}`)).statusCode).to.equal(400);
      }
      expect(peer.accessLog).to.deep.equal([]);
    });

    it('answers HEAD without a request for a blob', async () => {
      await start({});
      const image = makePackage(MIB);
      await peer.publish(image);
      const before = peer.accessLog.length;
      const response = await service.client.head(`package?digest=${image.digest}`);
      expect(response.headers['content-length']).to.equal(String(MIB));
      const asked = peer.accessLog.slice(before).map(({ url }) => url);
      expect(asked).to.have.lengthOf(1);
      expect(asked[0]).to.include('/manifests/');
    });
  });
});
