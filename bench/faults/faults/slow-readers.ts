/** Clients that read slowly, so many that nothing of them may cost much, and others that are in a hurry. */
import { setTimeout as sleep } from 'node:timers/promises';
import { makeImage, type TestImage } from '../../../test/support/image.ts';
import type { Got } from '../client.ts';
import type { Fault } from '../fault.ts';
import type { FaultedService } from '../faulted-service.ts';
import { cpuSeconds, peakBytes, resetPeak } from '../invariants/process-facts.ts';
import { tally } from '../swarm.ts';

const MIB = 1024 * 1024;
const SLOW_BYTES_PER_SECOND = 8 * 1024;
/** More than the system swallows for a client that does not read. */
const SLOW_PACKAGE_BYTES = 12 * MIB;
const FAST_PACKAGE_BYTES = 16 * MIB;
const FAST = 20;
const ROUNDS = 3;
const LOOK_MS = 500;
const MAX_LOOKS = 20;
const CALM_SHARE = 0.2;
const MIN_SHARE = 0.8;
const MAX_GROWTH_BYTES = 96 * MIB;
const SPARE_DESCRIPTORS = 64;

export const SLOW_READERS: Fault = {
  id: 'F23',
  what: '1 000 clients that read 8 KiB a second, and 20 that read as fast as they can',
  expected:
    'the fast ones have at least 80 % of the speed that they have alone; no slow one is cut off; memory at most 96 MiB above, descriptors at most clients + 64',
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
    const before = peakBytes(service.pid);

    const slow = bench.times(1000, 2000);
    const leaving = new AbortController();
    let begun = 0;
    const all = Promise.withResolvers<undefined>();
    const crawl = Array.from({ length: slow }, async (): Promise<Got> => {
      let isFirst = true;
      return service.get(slowImage, {
        bytesPerSecond: SLOW_BYTES_PER_SECOND,
        signal: leaving.signal,
        budgetMs: 600_000,
        onBytes: () => {
          if (isFirst && ++begun === slow) all.resolve(undefined);
          isFirst = false;
        },
      });
    });
    await Promise.race([all.promise, Promise.all(crawl)]);
    await calm(service);
    const beside = await speed(service, fastImage, bench.times(ROUNDS, 30 * ROUNDS));
    const { sockets, cached, others } = service.descriptors();
    const growth = peakBytes(service.pid) - before;
    leaving.abort();
    const gots = await Promise.all(crawl);

    const cut = gots.filter(({ verdict }) => verdict !== 'left');
    if (cut.length > 0) violations.push(`of the slow ones ${tally(cut)}: ${cut[0]?.why ?? ''}`);
    if (beside < MIN_SHARE * alone) violations.push(`the fast ones had ${percent(beside / alone)} of their speed`);
    if (growth > MAX_GROWTH_BYTES) violations.push(`${mib(growth)} of memory more`);
    const descriptors = sockets + cached + others;
    if (descriptors > slow + SPARE_DESCRIPTORS) violations.push(`${String(descriptors)} descriptors`);
    return {
      injected: slow,
      figures: `${String(slow)} slow readers, ${String(slow - cut.length)} of them never cut off; ${String(FAST)} fast ones at ${mib(beside)}/s beside them, ${mib(alone)}/s alone (${percent(beside / alone)}); ${mib(growth)} of memory more, ${String(descriptors)} descriptors`,
      violations,
    };
  },
};

/** Until the system has swallowed what it takes for each of them, and only their own pace counts. */
async function calm({ pid }: FaultedService): Promise<void> {
  for (let looks = 0, before = cpuSeconds(pid); looks < MAX_LOOKS; looks++) {
    await sleep(LOOK_MS);
    const now = cpuSeconds(pid);
    if (now - before < (CALM_SHARE * LOOK_MS) / 1000) return;
    before = now;
  }
}

/** Bytes a second of all fast clients together, in the best of some rounds: the machine may have other things to do. */
async function speed(service: FaultedService, image: TestImage, rounds: number): Promise<number> {
  let best = 0;
  for (let round = 0; round < rounds; round++) {
    const began = performance.now();
    const gots = await Promise.all(Array.from({ length: FAST }, () => service.get(image)));
    const bytes = gots.reduce((total, got) => total + got.bytes, 0);
    best = Math.max(best, (1000 * bytes) / (performance.now() - began));
  }
  return best;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(0)} %`;
}

function mib(bytes: number): string {
  return `${(bytes / MIB).toFixed(0)} MiB`;
}
