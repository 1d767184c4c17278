/** Requests of OciRegistryGateway for one image of a fake registry, for the tests of the parts behind it. */
import type { RegistryGateway } from '../../src/domain/ports/registry-gateway.ts';
import type { Upstream } from '../../src/domain/upstream.ts';
import { FakeRegistry, type FakeRegistryOptions } from './fake-registry.ts';
import type { TestImage } from './image.ts';

const NEVER = new AbortController().signal;

export interface BehindGateway {
  /** Starts a registry that has the image; it is closed after the test. */
  start(options?: FakeRegistryOptions): Promise<FakeRegistry>;
  manifest(gateway: RegistryGateway, upstream: Upstream): Promise<Uint8Array>;
  /** The layer from `offset` on, as a copy. */
  blob(gateway: RegistryGateway, upstream: Upstream, offset?: number): Promise<Buffer>;
  /** Closes a registry in the middle of the test. */
  stop(registry: FakeRegistry): Promise<void>;
  /** Called after the test. */
  afterTest(close: () => Promise<unknown>): void;
}

/** Called in a suite, since it registers a hook of mocha. */
export function behindGateway(image: TestImage): BehindGateway {
  const registries = new Set<FakeRegistry>();
  const closing: (() => Promise<unknown>)[] = [];
  const stop = async (registry: FakeRegistry): Promise<void> => {
    registries.delete(registry);
    await registry.close();
  };
  afterEach(async () => {
    await Promise.all([...[...registries].map(stop), ...closing.splice(0).map((close) => close())]);
  });
  return {
    async start(options = {}) {
      const registry = await FakeRegistry.start(options);
      registry.publish(image);
      registries.add(registry);
      return registry;
    },
    stop,
    manifest: (gateway, upstream) => gateway.fetchManifest(upstream, image.digest, NEVER),
    async blob(gateway, upstream, offset = 0) {
      const chunks: Uint8Array[] = [];
      for await (const chunk of await gateway.fetchBlob(upstream, image.layer.descriptor, offset, NEVER)) {
        chunks.push(new Uint8Array(chunk));
      }
      return Buffer.concat(chunks);
    },
    afterTest: (close) => {
      closing.push(close);
    },
  };
}
