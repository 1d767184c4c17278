/** SIGTERM during many downloads. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { makeImage } from '../../../test/support/image.ts';
import type { Got } from '../traffic/client.ts';
import type { Fault } from '../fault.ts';
import type { FaultBench } from '../fault-bench.ts';
import { pacedAt, stallingAfter } from '../failpoints/registry/behaviours.ts';
import { tally } from '../traffic/swarm.ts';

/** All downloads are from one registry, which may have three quarters of `registry.parallelDownloads`. */
const DOWNLOADS = 180;
const PARALLEL_DOWNLOADS = 256;
/** Downloads that never end, because the registry stalls. */
const STUCK = 20;
const PACKAGE_BYTES = 300_000;
/** The time that the other downloads take. */
const RUNNING_MS = 2000;
const GRACE_SECONDS = 5;
const SPARE_MS = 2000;
/** The time that a busy machine may take to deliver the signal. */
const HEARD_MS = 4000;

export const TERMINATION: Fault = {
  id: 'F27',
  what: 'SIGTERM comes during 180 downloads, of which 20 never end.',
  expected:
    'A download that can end within the grace period is not cut off. The others break off visibly at its end. New clients are refused. The exit code is 0, and no temporary file is left.',
  run: async (bench) => {
    const violations: string[] = [];
    const all: Got[] = [];
    let slowestMs = 0;
    const stops = bench.times(1, 50);
    for (let stop = 0; stop < stops; stop++) {
      const { gots, late, code, ms, left } = await terminate(bench);
      all.push(...gots);
      slowestMs = Math.max(slowestMs, ms);
      for (const [index, { verdict, why }] of gots.entries()) {
        const expected = index < STUCK ? 'cut' : 'whole';
        if (verdict !== expected) violations.push(`${verdict} instead of ${expected}: ${why}`);
      }
      if (late.verdict !== 'unreachable')
        violations.push(`a new client was accepted: ${late.verdict} ${String(late.status)}`);
      if (code !== 0) violations.push(`exit code ${String(code)}`);
      if (left > 0) violations.push(`${String(left)} temporary files`);
      if (ms > 1000 * GRACE_SECONDS + SPARE_MS) violations.push(`the stop took ${ms.toFixed(0)} ms`);
    }
    return {
      injected: stops * DOWNLOADS,
      figures: `stops: ${String(stops)}; downloads: ${tally(all)}; stopped after ${(slowestMs / 1000).toFixed(1)} s with a grace period of ${String(GRACE_SECONDS)} s`,
      violations,
    };
  },
};

interface Stop {
  readonly gots: readonly Got[];
  readonly late: Got;
  readonly code: number | null;
  readonly ms: number;
  /** The number of temporary files after the stop. */
  readonly left: number;
}

async function terminate(bench: FaultBench): Promise<Stop> {
  const registry = await bench.startRegistry();
  const settings = {
    server: { shutdownTimeoutSeconds: GRACE_SECONDS },
    registry: { parallelDownloads: PARALLEL_DOWNLOADS },
  };
  const service = await bench.startService({ registry, settings });
  const images = Array.from({ length: DOWNLOADS }, () => makeImage([bench.random.bytes(PACKAGE_BYTES)]));
  const newcomer = makeImage([bench.random.bytes(1000)]);
  registry.publish(...images, newcomer);
  for (const [index, { layer }] of images.entries()) {
    const behaviour = index < STUCK ? stallingAfter(100_000) : pacedAt((1000 * PACKAGE_BYTES) / RUNNING_MS);
    registry.script(layer.descriptor.digest, ({ place }) => (place === 'blob' ? behaviour : undefined));
  }
  const begun = images.map(() => Promise.withResolvers<undefined>());
  const gets = images.map((image, index) =>
    service.get(image, {
      onBytes: () => {
        begun[index]?.resolve(undefined);
      },
    }),
  );
  await Promise.all(begun.map(({ promise }) => promise));
  const told = performance.now();
  const stopped = service.stop();
  const { status } = await untilRefused(() => service.probe('/readyz'));
  if (status === 200) bench.report('the service was ready after SIGTERM');
  const late = await service.get(newcomer);
  const code = await stopped;
  const ms = performance.now() - told;
  const left = readdirSync(join(service.setup.cacheDirectory ?? '', 'v1/ingest')).length;
  return { gots: await Promise.all(gets), late, code, ms, left };
}

/** Resolves with the last answer before connections are refused. The service refuses them as soon as it gets the signal. */
async function untilRefused(probe: () => Promise<{ status: number }>): Promise<{ status: number }> {
  const deadline = performance.now() + HEARD_MS;
  for (let last = { status: 0 }; ;) {
    try {
      last = await probe();
    } catch {
      return { status: 0 };
    }
    if (performance.now() > deadline) return last;
  }
}
