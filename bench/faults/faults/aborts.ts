/** Clients leave before the head, in the middle or at the end of a body, alone or while other clients read the package. */
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '../../../test/support/eventually.ts';
import { makeImage, type TestImage } from '../../../test/support/image.ts';
import type { Fault } from '../fault.ts';
import type { FaultBench } from '../fault-bench.ts';
import type { FaultedService } from '../faulted-service.ts';
import { pacedAt } from '../failpoints/registry/behaviours.ts';
import type { ScriptedRegistry } from '../failpoints/registry/scripted-registry.ts';
import { swarm } from '../traffic/swarm.ts';

const KIB = 1024;
const SIZES = [1, 4 * KIB, 70 * KIB, 300 * KIB, 900 * KIB];
const CROWD = 20;
const AT_ONCE = 6;
/** After this many rounds the bench checks that the service has closed all sockets and files. */
const ROUNDS_AT_ONCE = 30;
const MAX_BASELINE_MS = 5000;
const LONGEST_MS = 40;

interface Round {
  readonly image: TestImage;
  /** All clients leave. */
  readonly isAlone: boolean;
  readonly isHeld: boolean;
  readonly leavers: readonly { readonly afterBytes: number; readonly afterMs: number | undefined }[];
}

export const ABORTS: Fault = {
  id: 'F24',
  limitMs: 180_000,
  what: 'Clients of cached and of new packages leave after a random number of bytes or after a random time. Half of these clients are the only clients of their package.',
  expected:
    'The other clients get whole packages. A download that has begun continues. The numbers of sockets and descriptors are as before within 5 s.',
  run: async (bench) => {
    const violations: string[] = [];
    const registry = await bench.startRegistry();
    const service = await bench.startService({ registry });
    const rounds = Array.from({ length: bench.times(500, 2000) }, (_, index) => roundOf(bench, index));
    let stayed = 0;
    let slowestMs = 0;
    for (let at = 0; at < rounds.length; at += ROUNDS_AT_ONCE) {
      const batch = rounds.slice(at, at + ROUNDS_AT_ONCE);
      const gots = await swarm(batch, AT_ONCE, (round) => abort(service, registry, round));
      for (const { verdict, why } of gots.flat()) {
        stayed++;
        if (verdict !== 'whole') violations.push(`a client that stayed: ${verdict}, ${why}`);
      }
      slowestMs = Math.max(slowestMs, await baseline(service));
      registry.withdraw(...batch.map(({ image }) => image));
    }
    if (slowestMs > MAX_BASELINE_MS)
      violations.push(`sockets and descriptors were as before only after ${slowestMs.toFixed(0)} ms`);
    const left = rounds.reduce((total, { leavers }) => total + leavers.length, 0);
    return {
      injected: left,
      figures: `${String(left)} clients left, ${String(stayed)} stayed and got whole packages; sockets and descriptors were as before after at most ${slowestMs.toFixed(0)} ms`,
      violations,
    };
  },
};

function roundOf({ random }: FaultBench, index: number): Round {
  const size = random.pick(SIZES);
  const leavers = Array.from({ length: CROWD }, () => ({
    afterBytes: random.between(0, size) + 1,
    afterMs: random.chance(0.3) ? random.between(0, LONGEST_MS) : undefined,
  }));
  return { image: makeImage([random.bytes(size)]), isAlone: index % 2 === 0, isHeld: random.chance(0.5), leavers };
}

/** Resolves with the answers of the clients that stayed. */
async function abort(service: FaultedService, registry: ScriptedRegistry, { image, isAlone, isHeld, leavers }: Round) {
  registry.publish(image);
  const { digest, size } = image.layer.descriptor;
  if (isHeld)
    registry.script(digest, ({ place }) => (place === 'blob' ? pacedAt(Math.max(size, 4 * KIB) * 10) : undefined));
  const staying = isAlone ? [] : [service.get(image)];
  await Promise.all(
    leavers.map(({ afterBytes, afterMs }) => {
      const signal = afterMs === undefined ? undefined : AbortSignal.timeout(afterMs);
      return service.get(image, { leaveAfter: afterBytes, ...(signal && { signal }) });
    }),
  );
  const last = await service.get(image);
  return [...(await Promise.all(staying)), last];
}

/** Resolves with the time until the service has released all resources of the clients that left. */
async function baseline(service: FaultedService): Promise<number> {
  const since = performance.now();
  await eventually(async () => {
    const arriving = (await service.metrics()).sum('downloads_in_flight');
    const { sockets, removed } = service.descriptors();
    const upstream = 2 * AT_ONCE;
    if (arriving > 0 || removed > 0 || sockets > service.idle.descriptors.sockets + upstream) {
      await sleep(20);
      throw new Error(`${String(arriving)} downloads, ${String(sockets)} sockets, ${String(removed)} removed files`);
    }
  });
  return performance.now() - since;
}
