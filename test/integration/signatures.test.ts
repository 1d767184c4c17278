import { expect } from 'chai';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Cosign, COSIGN_CASES, imageOf } from '../support/cosign/cases.ts';
import { describeWith, findProgram, type Program } from '../support/peers/binaries.ts';
import { PeerRegistry } from '../support/peers/peer-registry.ts';
import { ServiceProcess } from '../support/service-process.ts';

const REGISTRIES: readonly Program[] = ['distribution-registry', 'docker-registry', 'crane', 'ocimem'];

// Both take minutes to build, so they are optional: test/process/cosign.test.ts uses a recording of their output.
const programs = { 2: findProgram('cosign-2'), 3: findProgram('cosign-3') };
const { 2: second, 3: third } = programs;
if (second === undefined || third === undefined) it.skip('cosign not here: tools/peers.sh --long installs it');
else {
  for (const program of REGISTRIES) {
    describeWith(program, (path) => {
      describe(`the service, cosign and ${program}`, function () {
        this.timeout(120_000);
        let home: string;
        let registry: PeerRegistry;
        let cosign: Cosign;
        const services = new Map<string, ServiceProcess>();

        before(async () => {
          home = await mkdtemp(join(tmpdir(), 'cosign-'));
          cosign = await Cosign.open({ 2: second, 3: third }, home);
          registry = await PeerRegistry.start({ program, path });
          const registries = [{ repo: registry.repo, default: true, scheme: 'HTTP' }];
          for (const mode of ['off', 'report', 'enforce']) {
            const settings = {
              registry: { signature: { mode, keys: cosign.publicKey } },
              credentials: { registries },
            };
            services.set(mode, await ServiceProcess.start({ settings }));
          }
        });
        after(async () => {
          for (const service of services.values()) await service.close();
          await (registry as PeerRegistry | undefined)?.close();
          await rm(home, { recursive: true });
        });

        for (const [place, of] of COSIGN_CASES.entries()) {
          it(`agree about ${of.name}`, async () => {
            const image = imageOf(place);
            await registry.publish(image);
            await cosign.sign(of, `${registry.repo}@${image.digest}`);
            for (const [mode, service] of services) {
              const { statusCode } = await service.client(`package?digest=${image.digest}`);
              expect(statusCode, mode).to.equal(mode === 'enforce' && of.verdict !== 'valid' ? 502 : 200);
            }
          });
        }
      });
    });
  }
}
