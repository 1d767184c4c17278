import { expect } from 'chai';
import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BASIC, FakeRegistry, PASSWORD, USERNAME } from '../support/fake-registry.ts';
import { makePackage, type TestImage } from '../support/image.ts';
import { describeWith } from '../support/peers/binaries.ts';
import { PeerRegistry } from '../support/peers/peer-registry.ts';
import { ServiceProcess } from '../support/service-process.ts';

interface Recorded {
  readonly url: string;
  readonly authorization: string | undefined;
}

/** Records the requests to a registry, and forwards them. */
async function startRecorder(to: string): Promise<{ server: Server; origin: string; log: Recorded[] }> {
  const log: Recorded[] = [];
  const server = createServer((incoming, outgoing) => {
    const { url = '', method, headers } = incoming;
    log.push({ url, authorization: headers.authorization });
    const onward = request(`http://${to}${url}`, { method, headers: { ...headers, host: to } }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(outgoing);
    });
    onward.once('error', () => outgoing.destroy());
    incoming.pipe(onward);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { server, origin: `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`, log };
}

for (const basicAuth of [false, true]) {
  describeWith('distribution-registry', (path) => {
    describe(`distribution as a mirror ${basicAuth ? 'with an account of its own' : 'for everybody'}`, function () {
      this.timeout(60_000);

      it('is requested before the registry, gets the name of the registry, and does not get its credential', async () => {
        const home = await mkdtemp(join(tmpdir(), 'mirrors-'));
        const files = { usernameFile: join(home, 'username'), passwordFile: join(home, 'password') };
        await writeFile(files.usernameFile, USERNAME);
        await writeFile(files.passwordFile, `${PASSWORD}\n`);
        const mirror = await PeerRegistry.start({ program: 'distribution-registry', path, basicAuth });
        const recorder = await startRecorder(mirror.host);
        const origin = await FakeRegistry.start({ auth: 'bearer' });
        const [both, lacking] = [makePackage(3_000_000, 1), makePackage(500_000, 2)];
        await mirror.publish(both);
        origin.publish(both, lacking);
        const service = await ServiceProcess.start({
          settings: {
            registry: {
              mirrors: [{ of: '*', endpoint: recorder.origin, ...(basicAuth && files) }],
              // Generous limits, because a machine under load is slow.
              sources: { patienceMilliseconds: 20_000, minimumRate: 0 },
            },
            credentials: {
              registries: [
                {
                  repo: `${origin.host}/deckhouse/ee`,
                  default: true,
                  scheme: 'HTTP',
                  username: USERNAME,
                  password: PASSWORD,
                },
              ],
            },
          },
        });
        try {
          const get = async ({ digest }: TestImage): Promise<Uint8Array> =>
            service.client('package', { searchParams: { digest } }).buffer();
          expect(Buffer.compare(await get(both), both.layer.bytes)).to.equal(0);
          expect(origin.log).to.deep.equal([]);
          expect(Buffer.compare(await get(lacking), lacking.layer.bytes)).to.equal(0);
          expect(origin.requests(lacking.digest)).not.to.deep.equal([]);
          const asked = recorder.log.filter(({ url }) => /\/(?:manifests|blobs)\//.test(url));
          expect(asked.length).to.be.greaterThan(2);
          for (const { url } of asked) expect(url).to.include(`?ns=${encodeURIComponent(origin.host)}`);
          const shown = new Set(recorder.log.map(({ authorization }) => authorization));
          expect([...shown].filter((each) => each !== undefined)).to.deep.equal(basicAuth ? [BASIC] : []);
          const metrics = await service.client('metrics').text();
          expect(metrics).to.include('upstream_bytes_total{source="mirror"} 3000000\n');
          expect(metrics).to.include('source_switches_total{source="mirror",reason="failed"} 0\n');
        } finally {
          await service.close();
          await origin.close();
          recorder.server.closeAllConnections();
          await new Promise((resolve) => recorder.server.close(resolve));
          await mirror.close();
          await rm(home, { recursive: true });
        }
      });
    });
  });
}
