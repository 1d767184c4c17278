/** Clients request packages of a registry that stalls, and leave. The number of downloads without clients is limited. */
import { eventually } from '../../../test/support/eventually.ts';
import { makeImage } from '../../../test/support/image.ts';
import type { Fault } from '../fault.ts';
import { peakBytes, resetPeak } from '../validate/process-facts.ts';
import { stallingAfter } from '../failpoints/registry/behaviours.ts';
import { swarm } from '../traffic/swarm.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const PACKAGE_BYTES = 600 * KIB;
/** The registry stalls after this many bytes. By then the client has its first bytes, so its download has begun. */
const STALL_AT = 520 * KIB;
const AT_ONCE = 64;
const SLOTS = 16;
const IDLE_S = 4;
/** A request waits 8 s at most, and a download without clients keeps its slot for 5 s. */
const MAX_WAIT_MS = 10_000;
const MAX_GROWTH_BYTES = 128 * MIB;

export const ABANDONED_DOWNLOADS: Fault = {
  id: 'F34',
  what: 'Each client requests a package of its own from a registry that stalls, and leaves. The service may run 16 downloads at a time.',
  expected:
    'Never more than 16 downloads run. The queue is empty when the clients have left. A client gets another package within 10 s. Memory grows by at most 128 MiB.',
  run: async (bench) => {
    const violations: string[] = [];
    const registry = await bench.startRegistry();
    const settings = { registry: { parallelDownloads: SLOTS, timeouts: { idleSeconds: IDLE_S } } };
    const service = await bench.startService({ registry, settings });
    const count = bench.times(200, 2000);
    const images = Array.from({ length: count }, () => makeImage([bench.random.bytes(PACKAGE_BYTES)]));
    registry.publish(...images);
    for (const { layer } of images)
      registry.script(layer.descriptor.digest, ({ place, offset }) =>
        place === 'blob' ? stallingAfter(Math.max(0, STALL_AT - offset)) : undefined,
      );
    resetPeak(service.pid);
    const idleBytes = peakBytes(service.pid);
    let mostRunning = 0;
    await swarm(images, AT_ONCE, async (image) => {
      const signal = AbortSignal.timeout(bench.random.between(500, 3000));
      const got = await service.get(image, { signal });
      if (got.verdict !== 'left' && got.status !== 503) violations.push(`${got.verdict}, ${got.why}`);
      const metrics = await service.metrics();
      mostRunning = Math.max(mostRunning, metrics.sum('parallel_downloads', { state: 'running' }));
    });
    await eventually(async () => {
      const queued = (await service.metrics()).sum('parallel_downloads', { state: 'queued' });
      if (queued > 0) throw new Error(`${String(queued)} downloads in the queue`);
    });
    const honest = makeImage([bench.random.bytes(MIB)]);
    registry.publish(honest);
    const sinceMs = performance.now();
    const got = await service.get(honest);
    const waitedMs = performance.now() - sinceMs;
    if (got.verdict !== 'whole' || waitedMs > MAX_WAIT_MS) {
      violations.push(`the other package: ${got.verdict} after ${waitedMs.toFixed(0)} ms, ${got.why}`);
    }
    const growth = peakBytes(service.pid) - idleBytes;
    if (mostRunning > SLOTS) violations.push(`${String(mostRunning)} downloads ran`);
    if (growth > MAX_GROWTH_BYTES) violations.push(`memory grew by ${(growth / MIB).toFixed(0)} MiB`);
    const revoked = (await service.metrics()).sum('parallel_downloads_revoked_total');
    // A download that still runs gets the rest of its package with its next request.
    for (const { layer } of images) registry.script(layer.descriptor.digest, () => undefined);
    await eventually(async () => {
      const running = (await service.metrics()).sum('parallel_downloads', { state: 'running' });
      if (running > 0) throw new Error(`${String(running)} downloads still run`);
    }, MAX_WAIT_MS);
    registry.withdraw(...images);
    return {
      injected: count,
      figures: `at most ${String(mostRunning)} downloads ran, ${String(revoked)} ended to let others run; the other package took ${waitedMs.toFixed(0)} ms; memory grew by ${(growth / MIB).toFixed(0)} MiB`,
      violations,
    };
  },
};
