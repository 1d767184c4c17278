/** The configuration changes the password of a registry, or removes the registry, while packages of it are downloaded. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { FakeKubeApi } from '../../../test/support/fake-kube-api.ts';
import { USERNAME } from '../../../test/support/fake-registry.ts';
import { makeImage, type TestImage } from '../../../test/support/image.ts';
import type { Got } from '../traffic/client.ts';
import type { Fault } from '../fault.ts';
import type { FaultBench } from '../fault-bench.ts';
import type { FaultedService } from '../faulted-service.ts';
import { pacedAt } from '../failpoints/registry/behaviours.ts';
import type { Script } from '../failpoints/registry/exchange.ts';
import type { ScriptedRegistry } from '../failpoints/registry/scripted-registry.ts';
import { tally } from '../traffic/swarm.ts';

const SOURCE = 'rotated';
const RUNNING = 10;
const PACKAGE_BYTES = 400_000;
/** For this long after the change, a request with the old secret can still be on its way. */
const MAX_OLD_MS = 5000;
const KNOWN_LIMIT_MS = 5000;

export const CHANGED_CREDENTIALS: Fault = {
  id: 'F28',
  what: 'The password of a registry is changed, or the registry is removed from the configuration, during ten downloads. Then half of the downloads break off.',
  expected:
    'All downloads complete, and a download that must send another request sends the new password. The service sends no old secret more than 5 s after the change. A removed registry is unknown; its cached packages are still served.',
  run: async (bench) => {
    const changes = await Rotations.set(bench);
    const rotations = bench.times(4, 200);
    for (let rotation = 1; rotation <= rotations; rotation++) await changes.rotate(rotation);
    await changes.remove();
    const { violations, gots, slowestMs, lastOldMs } = changes;
    if (slowestMs > KNOWN_LIMIT_MS)
      violations.push(`the service knew of a change only after ${slowestMs.toFixed(0)} ms`);
    if (lastOldMs > MAX_OLD_MS)
      violations.push(`the service sent an old secret ${lastOldMs.toFixed(0)} ms after the change`);
    return {
      injected: gots.length,
      figures: `${String(rotations)} changed passwords and a removed registry: ${tally(gots)}; changes known after at most ${slowestMs.toFixed(0)} ms, last old secret ${lastOldMs.toFixed(0)} ms after a change`,
      violations,
    };
  },
};

class Rotations {
  readonly #bench: FaultBench;
  readonly #api: FakeKubeApi;
  readonly #registry: ScriptedRegistry;
  readonly #service: FaultedService;
  readonly violations: string[] = [];
  /** The answers of downloads that ran during a change. */
  readonly gots: Got[] = [];
  slowestMs = 0;
  lastOldMs = 0;
  #changedAt = 0;
  /** Resolved when the service knows of the change. */
  #known: PromiseWithResolvers<undefined> = Promise.withResolvers();

  private constructor(bench: FaultBench, api: FakeKubeApi, registry: ScriptedRegistry, service: FaultedService) {
    this.#bench = bench;
    this.#api = api;
    this.#registry = registry;
    this.#service = service;
  }

  static async set(bench: FaultBench): Promise<Rotations> {
    const { api, kubeconfig } = await bench.startKubeApi();
    // Without tokens each request carries the password, so the registry sees an old one at once.
    const registry = await bench.startRegistry({ auth: 'basic' });
    const flags = ['--kubeconfig', kubeconfig];
    const service = await bench.startService({ settings: { credentials: { source: 'kubernetes' } }, flags });
    const changes = new Rotations(bench, api, registry, service);
    registry.onRefused = () => {
      changes.lastOldMs = Math.max(changes.lastOldMs, performance.now() - changes.#changedAt);
    };
    changes.#change('canary-0');
    await changes.#untilWhole();
    service.rest();
    return changes;
  }

  async rotate(rotation: number): Promise<void> {
    const running = await this.#begin();
    this.#change(`canary-${String(rotation)}`);
    this.slowestMs = Math.max(this.slowestMs, await this.#untilWhole());
    this.#known.resolve(undefined);
    await this.#finish(running, ['whole']);
  }

  async remove(): Promise<void> {
    const kept = this.#image();
    await this.#get(kept);
    const running = await this.#begin();
    this.#api.remove('modulesources', SOURCE);
    const began = performance.now();
    while ((await this.#get(this.#image())).status !== 404) {
      if (performance.now() - began > KNOWN_LIMIT_MS) {
        this.violations.push('a registry that was removed is still known');
        break;
      }
      await sleep(20);
    }
    this.#known.resolve(undefined);
    // A download that breaks off cannot be resumed: its registry is removed.
    await this.#finish(running, ['whole', 'cut']);
    const hit = await this.#get(kept);
    if (hit.verdict !== 'whole') this.violations.push(`a hit after the removal: ${hit.verdict}, ${hit.why}`);
  }

  #change(password: string): void {
    const { host } = new URL(`http://${this.#registry.repo}`);
    const auth = Buffer.from(`${USERNAME}:${password}`).toString('base64');
    const dockerCfg = Buffer.from(JSON.stringify({ auths: { [host]: { auth } } })).toString('base64');
    this.#registry.changePassword(password);
    this.#changedAt = performance.now();
    this.#api.putModuleSource(SOURCE, { repo: this.#registry.repo, scheme: 'HTTP', dockerCfg });
  }

  /** Begins the downloads. Every second one breaks off when the service knows of the change. */
  async #begin(): Promise<Promise<Got>[]> {
    this.#known = Promise.withResolvers();
    const begun: Promise<undefined>[] = [];
    const running = Array.from({ length: RUNNING }, (_, index) => {
      const image = this.#image(PACKAGE_BYTES);
      this.#registry.script(image.layer.descriptor.digest, index % 2 === 0 ? breakingOff(this.#known.promise) : slowly);
      const { promise, resolve } = Promise.withResolvers<undefined>();
      begun.push(promise);
      return this.#get(image, () => {
        resolve(undefined);
      });
    });
    await Promise.race([Promise.all(begun), Promise.all(running)]);
    return running;
  }

  async #finish(running: readonly Promise<Got>[], expected: readonly string[]): Promise<void> {
    for (const got of await Promise.all(running)) {
      this.gots.push(got);
      if (!expected.includes(got.verdict)) this.violations.push(`a running download: ${got.verdict}, ${got.why}`);
    }
  }

  /** Resolves with the milliseconds until the service knew of the change. */
  async #untilWhole(): Promise<number> {
    const began = performance.now();
    for (;;) {
      const { verdict } = await this.#get(this.#image());
      const ms = performance.now() - began;
      if (verdict === 'whole' || ms > 2 * KNOWN_LIMIT_MS) return ms;
      await sleep(20);
    }
  }

  #get(image: TestImage, onBytes?: () => void): Promise<Got> {
    return this.#service.get(image, { query: { repository: this.#registry.repo }, ...(onBytes && { onBytes }) });
  }

  #image(bytes = 2000): TestImage {
    const image = makeImage([this.#bench.random.bytes(bytes)]);
    this.#registry.publish(image);
    return image;
  }
}

const slowly: Script = ({ place }) => (place === 'blob' ? pacedAt(PACKAGE_BYTES) : undefined);

/** Breaks off after half of the layer, when the service knows of the change. */
function breakingOff(known: Promise<unknown>): Script {
  return ({ place, attempt }) => {
    if (place !== 'blob' || attempt > 1) return undefined;
    return async (exchange) => {
      const { honest, response } = exchange;
      response.writeHead(honest.status, honest.headers);
      exchange.write(honest.body.subarray(0, PACKAGE_BYTES / 2));
      await known;
      response.socket?.resetAndDestroy();
    };
  };
}
