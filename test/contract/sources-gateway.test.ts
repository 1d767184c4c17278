import { expect } from 'chai';
import type { SourceInspection } from '../../src/domain/ports/registry-gateway.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import type { TestImage } from '../support/image.ts';
import { makePackage } from '../support/image.ts';
import { startMisbehavingRegistry } from '../support/misbehaving-registry.ts';
import { makeRegistryGateway } from '../support/registry-gateway.ts';
import { makeSources, mirrorOf } from '../support/sources.ts';
import { describeRegistryGateway, type Misbehaviour } from './registry-gateway.ts';

const PATIENCE = { patienceMs: 100 };
const timeouts = { headersTimeoutMs: 1000, idleTimeoutMs: 1000, retryTimeoutMs: 400 };

/** Both sources have the same fault, so neither can replace the other. */
for (const has of ['all', 'nothing'] as const)
  describeRegistryGateway(`SourcesGateway over a mirror that has ${has} and a registry`, async () => {
    const [mirror, origin] = [await startMisbehavingRegistry(), await startMisbehavingRegistry({ auth: 'basic' })];
    const { gateway } = makeSources(makeRegistryGateway(timeouts), [mirrorOf(mirror.registry.host)], PATIENCE);
    return {
      gateway,
      upstream: origin.registry.upstream(),
      publish: async (image) => {
        origin.registry.publish(image);
        if (has === 'all') mirror.registry.publish(image);
      },
      misbehave: Object.fromEntries(
        Object.entries(origin.misbehave).map(([how, begin]) => [
          how,
          (image: TestImage) => {
            begin(image);
            if (has === 'all') mirror.misbehave[how as Misbehaviour](image);
          },
        ]),
      ),
      close: async () => {
        await Promise.all([mirror.registry.close(), origin.registry.close()]);
      },
    };
  });

describeRegistryGateway('SourcesGateway over a mirror without a registry behind it', async () => {
  const { registry, misbehave } = await startMisbehavingRegistry();
  const origin = await FakeRegistry.start();
  const { gateway } = makeSources(makeRegistryGateway(timeouts), [mirrorOf(registry.host, { fallback: false })]);
  return {
    gateway,
    upstream: origin.upstream(),
    publish: async (image) => {
      registry.publish(image);
    },
    misbehave,
    close: async () => {
      expect(origin.log).to.deep.equal([]);
      await Promise.all([registry.close(), origin.close()]);
    },
  };
});

describeSourceInspection('SourcesGateway');

function describeSourceInspection(name: string): void {
  describe(`${name} is a SourceInspection that`, () => {
    const never = new AbortController().signal;
    const image = makePackage(1000);
    let [mirror, origin]: FakeRegistry[] = [];
    beforeEach(async () => {
      [mirror, origin] = [await FakeRegistry.start(), await FakeRegistry.start()];
      origin.publish(image);
    });
    afterEach(() => Promise.all([mirror?.close(), origin?.close()]));

    it('shows the sources of an upstream, and until when and why a source rests', async () => {
      if (mirror === undefined || origin === undefined) throw new Error('not started');
      const sources = [mirrorOf(mirror.host), mirrorOf('other.example', { of: 'another.example' })];
      const { gateway } = makeSources(makeRegistryGateway(timeouts), sources);
      const inspection: SourceInspection = gateway;
      const upstream = origin.upstream();
      expect(inspection.sources().map(({ name: host }) => host)).to.deep.equal([mirror.host, 'other.example']);
      const ready = { kind: 'mirror', name: mirror.host, resting: undefined, isFailing: false, distrusted: 0 };
      expect(inspection.sources(upstream)).to.deep.equal([ready]);
      mirror.failTimes('/manifests/', { status: 500 });
      await gateway.fetchManifest(upstream, image.digest, never);
      const [{ resting, isFailing } = ready] = inspection.sources(upstream);
      expect(isFailing).to.equal(true);
      expect(resting?.reason).to.equal(`failed: manifest from ${mirror.host}: status 500`);
      expect((resting?.until.getTime() ?? 0) - Date.now()).to.be.within(1, 30_000);
    });

    it('shows which source answered last for a digest', async () => {
      if (mirror === undefined || origin === undefined) throw new Error('not started');
      const { gateway } = makeSources(makeRegistryGateway(timeouts), [mirrorOf(mirror.host)]);
      expect(gateway.servedBy(image.digest)).to.equal(undefined);
      await gateway.fetchManifest(origin.upstream(), image.digest, never);
      expect(gateway.servedBy(image.digest)).to.equal(undefined);
      mirror.publish(image);
      await gateway.fetchManifest(origin.upstream(), image.digest, never);
      expect(gateway.servedBy(image.digest)).to.equal('mirror');
    });
  });
}
