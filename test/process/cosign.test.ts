import { expect } from 'chai';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { COSIGN_CASES, imageOf, signedIndex } from '../support/cosign/cases.ts';
import { RECORDING, replay } from '../support/cosign/recording.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { ServiceProcess } from '../support/service-process.ts';

describe('signatures of the real cosign, recorded', function () {
  // Three services start, which is slow on a machine under load.
  this.timeout(60_000);
  let directory: string;
  let registry: FakeRegistry;
  const services = new Map<string, ServiceProcess>();

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'cosign-'));
    const keys = join(directory, 'cosign.pub');
    await writeFile(keys, RECORDING.publicKey);
    registry = await FakeRegistry.start();
    registry.publish(...COSIGN_CASES.map((_, place) => imageOf(place)), signedIndex());
    replay(registry);
    const registries = [{ repo: `${registry.host}/deckhouse/ee`, default: true, scheme: 'HTTP' }];
    for (const mode of ['off', 'report', 'enforce']) {
      const settings = { registry: { signature: { mode, keys } }, credentials: { registries } };
      services.set(mode, await ServiceProcess.start({ settings }));
    }
  });
  after(async () => {
    for (const service of services.values()) await service.close();
    await registry.close();
    await rm(directory, { recursive: true });
  });

  async function expectVerdict(digest: string, verdict: string): Promise<void> {
    for (const [mode, service] of services) {
      const { statusCode } = await service.client(`package?digest=${digest}`);
      expect(statusCode, mode).to.equal(mode === 'enforce' && verdict !== 'valid' ? 502 : 200);
      const { body } = await service.client(`explain?digest=${digest}`);
      const { signature } = JSON.parse(body) as { signature: { verdict: string } | null };
      expect(signature?.verdict, mode).to.equal(mode === 'off' ? undefined : verdict);
    }
  }

  for (const [place, { name, verdict }] of COSIGN_CASES.entries()) {
    it(`are ${verdict} in each mode: ${name}`, () => expectVerdict(imageOf(place).digest, verdict));
  }

  it('are valid for an index and for its images', async () => {
    const { digest, images } = signedIndex();
    for (const each of [digest, ...images.map((image) => image.digest)]) await expectVerdict(each, 'valid');
  });
});
