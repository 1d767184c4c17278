/** A process that is stopped, whose event loop is blocked, or whose heap is nearly full. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '../../../test/support/eventually.ts';
import { makeImage, type TestImage } from '../../../test/support/image.ts';
import type { Got } from '../traffic/client.ts';
import type { Fault } from '../fault.ts';
import type { FaultBench } from '../fault-bench.ts';
import type { FaultedService } from '../faulted-service.ts';
import { residentBytes } from '../validate/process-facts.ts';
import { pacedAt } from '../failpoints/registry/behaviours.ts';
import type { ScriptedRegistry } from '../failpoints/registry/scripted-registry.ts';
import { swarm, tally } from '../traffic/swarm.ts';

const TROUBLES = join(import.meta.dirname, '../failpoints/machine-troubles.ts');
const MIB = 1024 * 1024;
const STALL_MS = 2000;
/** Time-outs of registries that are shorter than the stall: bytes that arrived during the stall must not count as late. */
const IDLE_SECONDS = 1;
const DOWNLOADS = 40;
const PACKAGE_BYTES = 300_000;
const HEAP_MIB = 192;
const HEAP_SHARE = 0.9;
const PRESSED = 200;
const AT_ONCE = 16;
/** The values of the chart; the kubelet restarts the container after this many failures in a row. */
const PROBE_TIMEOUT_MS = 5000;
const PROBE_EVERY_MS = 500;

export const STALLED_PROCESSES: Fault = {
  id: 'F26',
  what: 'The process is stopped for 2 s, its event loop is blocked for 2 s, or 90 % of its heap are occupied.',
  expected: 'All clients get the right bytes, later. No probe of the kubelet fails, so the container is not restarted.',
  run: async (bench) => {
    const violations: string[] = [];
    const parts = await Promise.all([stall(bench, violations), press(bench, violations)]);
    return {
      injected: parts.reduce((total, { injected }) => total + injected, 0),
      figures: parts.map(({ figures }) => figures).join('; '),
      violations,
    };
  },
};

interface Part {
  readonly injected: number;
  readonly figures: string;
}

async function stall(bench: FaultBench, violations: string[]): Promise<Part> {
  const registry = await bench.startRegistry();
  const service = await bench.startService({
    registry,
    settings: { registry: { timeouts: { idleSeconds: IDLE_SECONDS } } },
    environment: { NODE_OPTIONS: `--import=${TROUBLES}`, STALL_MS: String(STALL_MS) },
  });
  const stalls = bench.times(2, 100);
  const probes = new Probes(service);
  const gots: Got[] = [];
  for (let stalled = 0; stalled < stalls; stalled++) {
    const images = Array.from({ length: DOWNLOADS }, () => makeImage([bench.random.bytes(PACKAGE_BYTES)]));
    const running = await begin(service, registry, images);
    if (stalled % 2 === 0) {
      service.signal('SIGUSR2');
      await sleep(STALL_MS);
    } else {
      service.signal('SIGSTOP');
      await sleep(STALL_MS);
      service.signal('SIGCONT');
    }
    gots.push(...(await running.outcomes));
    registry.withdraw(...images);
  }
  const failures = await probes.end();
  for (const { verdict, why } of gots) if (verdict !== 'whole') violations.push(`during a stall: ${verdict}, ${why}`);
  if (failures > 0) violations.push(`${String(failures)} probes failed during stalls`);
  const slowest = Math.max(...gots.map(({ ms }) => ms));
  return {
    injected: stalls,
    figures: `${String(stalls)} stalls during ${String(DOWNLOADS)} downloads: ${tally(gots)}, the slowest took ${(slowest / 1000).toFixed(1)} s, ${String(failures)} of ${String(probes.count)} probes failed`,
  };
}

/** When the loop stops, half of the downloads wait for bytes, with a short time-out. */
async function begin(
  service: FaultedService,
  registry: ScriptedRegistry,
  images: readonly TestImage[],
): Promise<{ readonly outcomes: Promise<Got[]> }> {
  registry.publish(...images);
  for (const { layer } of images) {
    registry.script(layer.descriptor.digest, ({ place }) => (place === 'blob' ? pacedAt(PACKAGE_BYTES) : undefined));
  }
  const begun = Promise.withResolvers<undefined>();
  const outcomes = images.map((image) =>
    service.get(image, {
      onBytes: () => {
        begun.resolve(undefined);
      },
    }),
  );
  await begun.promise;
  return { outcomes: Promise.all(outcomes) };
}

async function press(bench: FaultBench, violations: string[]): Promise<Part> {
  const registry = await bench.startRegistry();
  const service = await bench.startService({
    registry,
    environment: {
      NODE_OPTIONS: `--import=${TROUBLES} --max-old-space-size=${String(HEAP_MIB)} --max-semi-space-size=2`,
      HEAP_SHARE: String(HEAP_SHARE),
    },
  });
  service.signal('SIGUSR2');
  // eslint-disable-next-line @typescript-eslint/require-await -- only reads, so there is nothing to await
  await eventually(async () => {
    expectGrowth(service);
  });
  const images = Array.from({ length: bench.times(PRESSED, 20 * PRESSED) }, () =>
    makeImage([bench.random.bytes(bench.random.pick([1000, 80_000, PACKAGE_BYTES]))]),
  );
  registry.publish(...images);
  const gots = await swarm([...images, ...images], AT_ONCE, (image) => service.get(image));
  for (const { verdict, why } of gots)
    if (verdict !== 'whole') violations.push(`with little memory: ${verdict}, ${why}`);
  return {
    injected: gots.length,
    figures: `${tally(gots)} with ${String(100 * HEAP_SHARE)} % of a heap of ${String(HEAP_MIB)} MiB occupied`,
  };
}

/** The idle service has already taken a third of the heap. */
function expectGrowth(service: FaultedService): void {
  const growth = residentBytes(service.pid) - service.idle.residentBytes;
  if (growth < (HEAP_MIB / 3) * MIB) throw new Error(`only ${String(growth)} bytes of the heap were occupied`);
}

/** Probes as the kubelet does, but more often. */
class Probes {
  readonly #service: FaultedService;
  readonly #ending = new AbortController();
  readonly #running: Promise<void>;
  count = 0;
  #failures = 0;

  constructor(service: FaultedService) {
    this.#service = service;
    this.#running = this.#run();
  }

  async end(): Promise<number> {
    this.#ending.abort();
    await this.#running;
    return this.#failures;
  }

  async #run(): Promise<void> {
    while (!this.#ending.signal.aborted) {
      for (const path of ['/healthz', '/readyz']) {
        const impatience = sleep(PROBE_TIMEOUT_MS, { status: 0 }, { ref: false });
        const { status } = await Promise.race([this.#service.probe(path).catch(() => ({ status: 0 })), impatience]);
        this.count++;
        if (status !== 200) this.#failures++;
      }
      await sleep(PROBE_EVERY_MS);
    }
  }
}
