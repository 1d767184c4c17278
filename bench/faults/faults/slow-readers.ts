/** Very many clients that read slowly, and a few that read as fast as they can. */
import { setTimeout as sleep } from 'node:timers/promises';
import { makeImage, type TestImage } from '../../../test/support/image.ts';
import type { Got } from '../traffic/client.ts';
import type { Fault } from '../fault.ts';
import type { FaultedService } from '../faulted-service.ts';
import { cpuSeconds, peakBytes, resetPeak } from '../validate/process-facts.ts';
import { tally } from '../traffic/swarm.ts';

const MIB = 1024 * 1024;
const SLOW_BYTES_PER_SECOND = 8 * 1024;
/** More than the system buffers for a client that does not read. */
const SLOW_PACKAGE_BYTES = 12 * MIB;
const FAST_PACKAGE_BYTES = 16 * MIB;
const BUDGET_MS = 600_000;
const FAST = 20;
/**
 * The number of slow readers while the speed is measured. Each takes 2 MiB of the system's memory for TCP over loopback;
 * beyond its limit (tcp_mem) the system slows all connections down.
 */
const BESIDE = 300;
const ROUNDS = 3;
/** Other work on the machine slows both kinds of rounds down, so one fast round is enough. */
const MORE_ROUNDS = 10;
const LOOK_MS = 500;
const MAX_LOOKS = 8;
const CALM_SHARE = 0.2;
const MIN_SHARE = 0.8;
const MAX_GROWTH_BYTES = 96 * MIB;
const SPARE_DESCRIPTORS = 64;

export const SLOW_READERS: Fault = {
  id: 'F23',
  what: '1 000 clients read 8 KiB a second each; 20 others read as fast as they can.',
  expected:
    'With 300 slow clients (with more, the system runs out of memory for TCP) the fast clients have at least 80 % of the speed that they have alone, by the clock or by the processor time of the service. No slow client is cut off. Memory grows by at most 96 MiB. The service has at most 64 descriptors more than clients.',
  run: async (bench) => {
    const violations: string[] = [];
    const registry = await bench.startRegistry();
    const service = await bench.startService({ registry });
    const [slowImage, fastImage] = [SLOW_PACKAGE_BYTES, FAST_PACKAGE_BYTES].map((size) =>
      makeImage([bench.random.bytes(size)]),
    ) as [TestImage, TestImage];
    registry.publish(slowImage, fastImage);
    for (const image of [slowImage, fastImage]) await service.get(image);
    const alone = await speed(service, fastImage, ROUNDS);
    resetPeak(service.pid);
    const idleBytes = peakBytes(service.pid);
    const slow = new SlowReaders(service, slowImage);
    await slow.grow(BESIDE);
    await calm(service);
    let beside = await speed(service, fastImage, bench.times(ROUNDS, 30 * ROUNDS));
    for (let more = 0; more < MORE_ROUNDS && share(beside, alone) < MIN_SHARE; more++) {
      beside = better(beside, await speed(service, fastImage, ROUNDS));
    }
    const count = bench.times(1000, 2000);
    await slow.grow(count - BESIDE);
    await calm(service);
    const { sockets, cached, others } = service.descriptors();
    const growth = peakBytes(service.pid) - idleBytes;
    const gots = await slow.leave();

    const cut = gots.filter(({ verdict }) => verdict !== 'left');
    if (cut.length > 0) violations.push(`slow clients: ${tally(cut)}: ${cut[0]?.why ?? ''}`);
    const clock = beside.byClock / alone.byClock;
    const processor = beside.byProcessor / alone.byProcessor;
    if (share(beside, alone) < MIN_SHARE) violations.push(`the fast clients had ${percent(clock)} of their speed`);
    if (growth > MAX_GROWTH_BYTES) violations.push(`memory grew by ${mib(growth)}`);
    const descriptors = sockets + cached + others;
    if (descriptors > count + SPARE_DESCRIPTORS) violations.push(`${String(descriptors)} descriptors`);
    return {
      injected: count,
      figures: `${String(count - cut.length)} of ${String(count)} slow clients never cut off; ${String(FAST)} fast clients: ${mib(beside.byClock)}/s with ${String(BESIDE)} slow ones, ${mib(alone.byClock)}/s alone (${percent(clock)}; ${percent(processor)} by processor time); memory grew by ${mib(growth)}; ${String(descriptors)} descriptors`,
      violations,
    };
  },
};

/** Ends all these clients. */
class SlowReaders {
  readonly #service: FaultedService;
  readonly #image: TestImage;
  readonly #leaving = new AbortController();
  readonly #running: Promise<Got>[] = [];

  constructor(service: FaultedService, image: TestImage) {
    this.#service = service;
    this.#image = image;
  }

  /** Resolves when each new client has its first byte, or has ended. */
  async grow(count: number): Promise<void> {
    const begun = Array.from({ length: count }, async () => {
      const first = Promise.withResolvers<undefined>();
      const running = this.#service.get(this.#image, {
        bytesPerSecond: SLOW_BYTES_PER_SECOND,
        signal: this.#leaving.signal,
        budgetMs: BUDGET_MS,
        onBytes: () => {
          first.resolve(undefined);
        },
      });
      this.#running.push(running);
      await Promise.race([first.promise, running]);
    });
    await Promise.all(begun);
  }

  leave(): Promise<Got[]> {
    this.#leaving.abort();
    return Promise.all(this.#running);
  }
}

/** Resolves when the buffers of the system are full, so that the speed of a client is the speed at which it reads. */
async function calm({ pid }: FaultedService): Promise<void> {
  for (let looks = 0, before = cpuSeconds(pid); looks < MAX_LOOKS; looks++) {
    await sleep(LOOK_MS);
    const now = cpuSeconds(pid);
    if (now - before < (CALM_SHARE * LOOK_MS) / 1000) return;
    before = now;
  }
}

/** Bytes per second of all fast clients together, in the best of some rounds. */
interface Speed {
  readonly byClock: number;
  /** Bytes per second of the service's processor time, on which the load of the machine has little effect. */
  readonly byProcessor: number;
}

async function speed(service: FaultedService, image: TestImage, rounds: number): Promise<Speed> {
  let [byClock, byProcessor] = [0, 0];
  for (let round = 0; round < rounds; round++) {
    const [began, cpu] = [performance.now(), cpuSeconds(service.pid)];
    const gots = await Promise.all(Array.from({ length: FAST }, () => service.get(image)));
    const bytes = gots.reduce((total, got) => total + got.bytes, 0);
    byClock = Math.max(byClock, (1000 * bytes) / (performance.now() - began));
    byProcessor = Math.max(byProcessor, bytes / (cpuSeconds(service.pid) - cpu));
  }
  return { byClock, byProcessor };
}

function better(one: Speed, other: Speed): Speed {
  return {
    byClock: Math.max(one.byClock, other.byClock),
    byProcessor: Math.max(one.byProcessor, other.byProcessor),
  };
}

function share(some: Speed, all: Speed): number {
  return Math.max(some.byClock / all.byClock, some.byProcessor / all.byProcessor);
}

function percent(part: number): string {
  return `${(100 * part).toFixed(0)} %`;
}

function mib(bytes: number): string {
  return `${(bytes / MIB).toFixed(0)} MiB`;
}
