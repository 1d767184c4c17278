/** A registry stops and starts again; meanwhile another server answers at its address with another certificate. */
import { setTimeout as sleep } from 'node:timers/promises';
import { makeImage, type TestImage } from '../../../test/support/image.ts';
import type { Got } from '../traffic/client.ts';
import type { Fault } from '../fault.ts';
import type { FaultBench } from '../fault-bench.ts';
import type { FaultedService } from '../faulted-service.ts';
import { pacedAt } from '../failpoints/registry/behaviours.ts';
import type { ScriptedRegistry } from '../failpoints/registry/scripted-registry.ts';
import { tally } from '../traffic/swarm.ts';

/** During a restart of this length no request of a client fails. */
const BRIEFLY_AWAY_MS = 1500;
const AWAY_MS = 2500;
const LONG_AWAY_MS = 5000;
const ASK_EVERY_MS = 100;
const MAX_RECOVERY_MS = 2000;
/** A client waits this long for the first byte. */
const BUDGET_MS = 10_000;
const STRANGER_MS = 1000;
const RUNNING = 8;
const RUNNING_BYTES = 400_000;

export const REGISTRY_RESTARTS: Fault = {
  id: 'F11',
  what: 'A registry with TLS restarts within 2 s. Then it stops for longer: connections are reset, then refused, then another server with another certificate answers at its address.',
  expected:
    'During the short restart all clients get whole packages, also from downloads that run. During the long stop they get 502 or a broken body in time, and nothing from the other server. Requests succeed within 2 s after the return of the registry.',
  run: async (bench) => {
    const violations: string[] = [];
    const whileAway: Got[] = [];
    let slowestMs = 0;
    let registry = await bench.startRegistry({ tls: 'localhost', auth: 'basic' });
    const service = await bench.startService({ registry });
    const cycles = bench.times(1, 40);
    for (let cycle = 0; cycle < cycles; cycle++) {
      registry = await restart(bench, service, registry, violations);
      const images = Array.from({ length: 200 }, () => makeImage([bench.random.bytes(3000)]));
      const large = Array.from({ length: RUNNING }, () => makeImage([bench.random.bytes(RUNNING_BYTES)]));
      const fresh = images.values();
      const { outcomes: running } = await begin(service, registry, large);
      const { port } = registry;
      await registry.close();
      whileAway.push(...(await askFor(bench.isLong ? LONG_AWAY_MS : AWAY_MS, service, fresh)));

      const stranger = await bench.startRegistry({ tls: 'elsewhere', auth: 'anonymous', port });
      stranger.publish(...images);
      whileAway.push(...(await askFor(STRANGER_MS, service, fresh)));
      if (stranger.requests('manifest') > 0) violations.push('the other server was asked for a manifest');
      await stranger.close();

      registry = await bench.startRegistry({ tls: 'localhost', auth: 'basic', port });
      registry.publish(...images, ...large);
      slowestMs = Math.max(slowestMs, await recover(service, fresh));
      const outcomes = [...(await running), ...(await Promise.all(large.map((image) => service.get(image))))];
      // The responses that were running may break off, but no later request may.
      const isExpected = ({ verdict }: Got, index: number): boolean =>
        verdict === 'whole' || (index < RUNNING && verdict === 'cut');
      for (const { verdict, why } of outcomes.filter((got, index) => !isExpected(got, index))) {
        violations.push(`a download: ${verdict}, ${why}`);
      }
    }
    for (const { verdict, status, ms } of whileAway) {
      // A request with a long enough time limit succeeds when the registry is back.
      if (verdict !== 'whole' && (verdict !== 'refused' || (status !== 502 && status !== 504))) {
        violations.push(`${verdict} ${String(status)} without the registry`);
      }
      if (ms > BUDGET_MS) violations.push(`an answer after ${ms.toFixed(0)} ms`);
    }
    if (slowestMs > MAX_RECOVERY_MS)
      violations.push(`requests succeeded only ${slowestMs.toFixed(0)} ms after the return`);
    return {
      injected: whileAway.length + 2 * cycles * RUNNING,
      figures: `restarts during ${String(RUNNING)} downloads: ${String(cycles)}; without the registry: ${tally(whileAway)}; requests succeeded ${slowestMs.toFixed(0)} ms after its return`,
      violations,
    };
  },
};

/** Misses and running downloads succeed in spite of a short restart. */
async function restart(
  bench: FaultBench,
  service: FaultedService,
  registry: ScriptedRegistry,
  violations: string[],
): Promise<ScriptedRegistry> {
  const misses = Array.from({ length: RUNNING }, () => makeImage([bench.random.bytes(3000)]));
  const large = Array.from({ length: RUNNING }, () => makeImage([bench.random.bytes(RUNNING_BYTES)]));
  const { outcomes } = await begin(service, registry, large);
  const { port } = registry;
  await registry.close();
  const asked = misses.map((image) => service.get(image));
  await sleep(BRIEFLY_AWAY_MS);
  const back = await bench.startRegistry({ tls: 'localhost', auth: 'basic', port });
  back.publish(...misses, ...large);
  for (const { verdict, why } of [...(await outcomes), ...(await Promise.all(asked))]) {
    if (verdict !== 'whole') violations.push(`during a short restart: ${verdict}, ${why}`);
  }
  return back;
}

/** Resolves when all downloads have begun, with their outcomes. */
async function begin(
  service: FaultedService,
  registry: ScriptedRegistry,
  images: readonly TestImage[],
): Promise<{ readonly outcomes: Promise<Got[]> }> {
  registry.publish(...images);
  registry.scriptAll(({ place }) => (place === 'blob' ? pacedAt(RUNNING_BYTES / 4) : undefined));
  const begun = images.map(() => Promise.withResolvers<undefined>());
  const outcomes = images.map((image, index) =>
    service.get(image, {
      onBytes: () => {
        begun[index]?.resolve(undefined);
      },
    }),
  );
  await Promise.all(begun.map(({ promise }) => promise));
  return { outcomes: Promise.all(outcomes) };
}

async function askFor(ms: number, service: FaultedService, fresh: Iterator<TestImage>): Promise<Got[]> {
  const asked: Promise<Got>[] = [];
  const until = performance.now() + ms;
  while (performance.now() < until) {
    asked.push(service.get(nextOf(fresh)));
    await sleep(ASK_EVERY_MS);
  }
  return Promise.all(asked);
}

/** Resolves with the milliseconds until a request succeeded. */
async function recover(service: FaultedService, fresh: Iterator<TestImage>): Promise<number> {
  const returned = performance.now();
  while ((await service.get(nextOf(fresh))).verdict !== 'whole') await sleep(ASK_EVERY_MS);
  return performance.now() - returned;
}

function nextOf(fresh: Iterator<TestImage>): TestImage {
  const next = fresh.next();
  if (next.done === true) throw new Error('too few images');
  return next.value;
}
