/** SIGKILL ends the process at random moments, many times. */
import { setTimeout as sleep } from 'node:timers/promises';
import { makeImage, type TestImage } from '../../../test/support/image.ts';
import { bundle } from '../bundle.ts';
import type { Got } from '../traffic/client.ts';
import type { Fault, Seen } from '../fault.ts';
import type { FaultBench } from '../fault-bench.ts';
import { violationsAtRest } from '../validate/at-rest.ts';
import type { Random } from '../traffic/random.ts';
import { pacedAt } from '../failpoints/registry/behaviours.ts';
import { tally } from '../traffic/swarm.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
/** Room for about a third of all images, so that each cycle evicts. */
const MAX_BYTES = 4 * MIB;
const IMAGES = 24;
const CLIENTS = 6;
/** Services that run, and are killed, at the same time. */
const LOOPS = 2;
const MAX_READY_MS = 2000;

export const KILLS: Fault = {
  id: 'F16',
  what: 'SIGKILL ends the process at a random moment during downloads and evictions; the service restarts. This is repeated.',
  expected:
    'The service serves within 2 s after each restart. All answers are right, no partial file is served, and the index agrees with the directory.',
  limitMs: 300_000,
  async run(bench) {
    const cycles = bench.times(200, 500);
    const loops = Array.from({ length: LOOPS }, () => new KillLoop(bench, bench.random.fork(), cycles / LOOPS));
    const seen = await Promise.all(loops.map((loop) => loop.run()));
    const gots = loops.flatMap((loop) => loop.gots);
    const starts = loops.flatMap((loop) => loop.readyMs).toSorted((a, b) => a - b);
    const median = starts[starts.length >> 1] ?? 0;
    const evicted = loops.reduce((sum, loop) => sum + loop.evicted, 0);
    return {
      injected: cycles,
      figures:
        `${tally(gots)}; ${String(evicted)} evictions; ready in ${median.toFixed(0)} ms (median), ` +
        `${(starts.at(-1) ?? 0).toFixed(0)} ms at most`,
      violations: [...seen.flat(), ...(median > MAX_READY_MS ? ['the service took longer than 2 s to serve'] : [])],
    };
  },
};

class KillLoop {
  readonly #bench: FaultBench;
  readonly #random: Random;
  readonly #cycles: number;
  readonly gots: Got[] = [];
  readonly readyMs: number[] = [];
  evicted = 0;

  constructor(bench: FaultBench, random: Random, cycles: number) {
    this.#bench = bench;
    this.#random = random;
    this.#cycles = cycles;
  }

  async run(): Promise<Seen['violations']> {
    const random = this.#random;
    const main = bundle();
    const registry = await this.#bench.startRegistry({ auth: 'anonymous' });
    const images = Array.from({ length: IMAGES }, () => makeImage([random.bytes(random.between(50 * KIB, MIB))]));
    registry.publish(...images);
    // At this rate most downloads still run when the process is killed.
    const rates = random.fork();
    registry.scriptAll(({ place }) => (place === 'blob' ? pacedAt(rates.between(20 * MIB, 200 * MIB), 5) : undefined));
    const service = await this.#bench.startService({
      registry,
      maxBytes: MAX_BYTES,
      ...(main !== undefined && { main }),
    });
    const violations: string[] = [];
    for (let cycle = 1; cycle <= this.#cycles; cycle++) {
      const wanted = Array.from({ length: CLIENTS }, () => this.#wanted(images));
      const moment = random.between(5, 300);
      const downloads = wanted.map((choices) => this.#follow(choices, (image) => service.get(image)));
      await sleep(moment);
      this.evicted += (await service.metrics()).sum('cache_evictions_total', { reason: 'size' });
      await service.kill();
      await Promise.all(downloads);
      await service.start();
      this.readyMs.push(service.readyMs);
      const found = await violationsAtRest(service);
      violations.push(...found.map((violation) => `cycle ${String(cycle)}: ${violation}`));
    }
    for (const image of images) {
      const got = await service.get(image);
      this.gots.push(got);
      if (got.verdict !== 'whole') violations.push(`after all cycles: ${got.verdict}, ${got.why}`);
    }
    return violations;
  }

  /** Requests one image after the other until the service does not answer. */
  async #follow(images: readonly TestImage[], get: (image: TestImage) => Promise<Got>): Promise<void> {
    for (const image of images) {
      const got = await get(image);
      this.gots.push(got);
      if (got.verdict !== 'whole') return;
    }
  }

  /** Random images for one cycle; the first ones of the list are more frequent. */
  #wanted(images: readonly TestImage[]): TestImage[] {
    return Array.from({ length: 20 }, () => {
      const below = this.#random.between(1, images.length + 1);
      return images[this.#random.between(0, below)] ?? this.#random.pick(images);
    });
  }
}
