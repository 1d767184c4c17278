import { expect } from 'chai';
import { PASSWORD, USERNAME } from '../support/fake-registry.ts';
import { FORWARD_PROXIES, type ForwardProxyKind } from '../support/fronts/forward-proxies.ts';
import { Front } from '../support/fronts/front.ts';
import { Relay } from '../support/fronts/relay.ts';
import { makePackage, type TestImage } from '../support/image.ts';
import { describeWithAll } from '../support/peers/binaries.ts';
import { obstacleToHosts, withHost } from '../support/fronts/known-hosts.ts';
import { PeerRegistry } from '../support/peers/peer-registry.ts';
import { ServiceProcess } from '../support/service-process.ts';
import { CA } from '../support/tls/certificates.ts';

const MIB = 1024 * 1024;
/** The service has this much of a layer when a connection ends. */
const CUT_AFTER = 3 * MIB;
/** The name in the certificate; the proxies know its address, the host of the tests does not. */
const NAME = 'registry.test';

for (const kind of FORWARD_PROXIES) {
  describeWithAll(['docker-registry', ...kind.programs], (paths) => {
    describe(`the service behind the forward proxy ${kind.name}`, () => {
      let registry: PeerRegistry;
      let plain: PeerRegistry;
      let proxy: Front;
      let behind: Relay;
      let ahead: Relay;
      let service: ServiceProcess;

      before(async function () {
        if (obstacleToHosts() !== undefined) this.skip();
        const peer = { program: 'docker-registry', path: paths['docker-registry'] } as const;
        registry = await PeerRegistry.start({ ...peer, tls: true, basicAuth: true });
        plain = await PeerRegistry.start(peer);
        behind = await Relay.start(() => Number(registry.host.split(':')[1]));
        proxy = await Front.start(kind, paths, behind.port, (command, home) => withHost(home, NAME, command));
        ahead = await Relay.start(() => proxy.port);
        service = await serviceWith(kind.password);
      });
      after(async () => {
        for (const part of [service, ahead, proxy, behind, plain, registry])
          await (part as typeof part | undefined)?.close();
      });

      const repo = (): string => `${NAME}:${String(behind.port)}/deckhouse/ee`;
      const plainRepo = (): string => `${NAME}:${plain.host.split(':')[1] ?? ''}/deckhouse/ee`;

      function serviceWith(password: string | undefined): Promise<ServiceProcess> {
        const url = proxyUrl(kind, ahead.port, password);
        const login = { username: USERNAME, password: PASSWORD };
        const registries = [
          { repo: repo(), default: true, scheme: 'HTTPS', ca: CA, ...login },
          { repo: plainRepo(), scheme: 'HTTP' },
        ];
        const environment = { HTTPS_PROXY: url, HTTP_PROXY: url };
        return ServiceProcess.start({ settings: { credentials: { registries } }, environment });
      }

      async function expectWhole(wanted: TestImage, outcome: RegExp, repository = repo()): Promise<void> {
        const searchParams = { digest: wanted.digest, repository };
        const { statusCode, body, headers } = await service.client('package', { responseType: 'buffer', searchParams });
        expect(statusCode, body.subarray(0, 200).toString()).to.equal(200);
        expect(Buffer.compare(body, wanted.layer.bytes)).to.equal(0);
        expect(headers['cache-status']).to.match(outcome);
      }

      it('delivers the exact bytes of a package, and the second time without the proxy', async () => {
        const wanted = makePackage(8 * MIB, 1);
        await registry.publish(wanted);
        await expectWhole(wanted, /fwd=/);
        const asked = registry.accessLog.length;
        await expectWhole(wanted, /hit/);
        expect(registry.accessLog).to.have.lengthOf(asked);
      });

      it('delivers a package from a registry without TLS', async () => {
        const wanted = makePackage(MIB, 2);
        await plain.publish(wanted);
        await expectWhole(wanted, /fwd=/, plainRepo());
      });

      it('resumes a download whose connection to the proxy ends in the middle', async () => {
        const wanted = makePackage(8 * MIB, 3);
        await registry.publish(wanted);
        ahead.cutAfter(CUT_AFTER);
        await expectWhole(wanted, /fwd=/);
        expect(ahead.hasCut).to.equal(true);
      });

      it('resumes a download whose proxy loses the registry in the middle', async () => {
        const wanted = makePackage(8 * MIB, 4);
        await registry.publish(wanted);
        behind.cutAfter(CUT_AFTER);
        await expectWhole(wanted, /fwd=/);
        expect(behind.hasCut).to.equal(true);
      });

      it('answers a range of a package that is not cached', async () => {
        const wanted = makePackage(MIB, 5);
        await registry.publish(wanted);
        const headers = { range: 'bytes=1000-299999' };
        const { statusCode, body } = await service.client(`package?digest=${wanted.digest}`, {
          responseType: 'buffer',
          headers,
        });
        expect(statusCode).to.equal(206);
        expect(Buffer.compare(body, wanted.layer.bytes.subarray(1000, 300_000))).to.equal(0);
      });

      if (kind.password !== undefined) {
        it('answers 502 for a wrong password of the proxy, and logs the cause', async () => {
          const other = await serviceWith('canary-wrong');
          try {
            const { statusCode } = await other.client(`package?digest=${makePackage(1).digest}`);
            expect(statusCode).to.equal(502);
            const cause =
              /ERR_PROXY_REFUSED \(proxy 127\.0\.0\.1:\d+ (answered CONNECT by 40[17]|refused: .*Authentication failed)/;
            expect(JSON.stringify(await other.logged('request', { status: 502 }))).to.match(cause);
          } finally {
            await other.close();
          }
        });
      }
    });
  });
}

function proxyUrl({ scheme }: ForwardProxyKind, port: number, password: string | undefined): string {
  const login = password === undefined ? '' : `${USERNAME}:${encodeURIComponent(password)}@`;
  return `${scheme}://${login}127.0.0.1:${String(port)}`;
}
