/** The name servers do not answer for one registry. Requests to another registry, whose address is known, must not slow down. */
import { makeImage } from '../../../test/support/image.ts';
import { median } from '../../figures.ts';
import type { Got } from '../traffic/client.ts';
import type { Fault } from '../fault.ts';
import type { FaultBench } from '../fault-bench.ts';
import type { FaultedService } from '../faulted-service.ts';
import { openOwnNames } from '../failpoints/own-names.ts';
import type { ScriptedRegistry } from '../failpoints/registry/scripted-registry.ts';
import { tally } from '../traffic/swarm.ts';

const HEALTHY = 'healthy.test';
const MAX_RATIO = 1.5;
/** Far more than the threads of libuv. */
const WAITING = 24;
const BYTES = 100_000;
const MISSES = 40;

export const DEAD_NAME_SERVER: Fault = {
  id: 'F30',
  what: 'The name servers do not answer for the name of a registry from which 24 clients request packages. Other clients use a healthy registry.',
  expected:
    'The 24 clients get 504 in time. Misses of the healthy registry, each on a new connection, take at most 1.5 times as long as before.',
  async run(bench) {
    const registry = await bench.startRegistry({ auth: 'anonymous' });
    const names = await openOwnNames(bench, `127.0.0.1 ${HEALTHY}\n`, () => 'silence');
    if ('reason' in names) return { injected: 0, figures: `skipped: ${names.reason}`, violations: [] };
    // The service remembers a failed lookup, so each round uses a new name.
    const dead = Array.from({ length: bench.times(4, 100) }, (_, round) => `silent${String(round)}.test/packages`);
    const healthy = { ...registry.entry, repo: registry.repo.replace(/^[^:]+/, HEALTHY) };
    const registries = [healthy, ...dead.map((repo) => ({ repo, scheme: 'HTTP' }))];
    const service = await bench.startService({ wrapper: names.wrapper, settings: { credentials: { registries } } });
    await misses(bench, service, registry);
    const [alone, beside, refused]: [number[], number[], Got[]] = [[], [], []];
    for (const repository of dead) {
      alone.push(...(await misses(bench, service, registry)));
      const images = Array.from({ length: WAITING }, () => makeImage([bench.random.bytes(10)]));
      const waiting = images.map((image) => service.get(image, { query: { repository } }));
      beside.push(...(await misses(bench, service, registry)));
      refused.push(...(await Promise.all(waiting)));
    }
    const [before, during] = [median(alone), median(beside)];
    const strange = refused.filter(({ verdict, status }) => verdict !== 'refused' || status !== 504);
    return {
      injected: refused.length,
      figures: `median of ${String(alone.length)} misses of the healthy registry: ${before.toFixed(1)} ms before the fault, ${during.toFixed(1)} ms during it; the other clients: ${tally(refused)}, after ${String(names.server.questions.length)} queries to the name server`,
      violations: [
        ...(during > MAX_RATIO * before
          ? [`misses of the healthy registry took ${(during / before).toFixed(1)} times as long`]
          : []),
        ...strange.map(({ verdict, status, why }) => `the dead registry: ${verdict} ${String(status)} ${why}`),
      ],
    };
  },
};

/** The duration of each miss in milliseconds. The registry closes each connection after its answer. */
async function misses(bench: FaultBench, service: FaultedService, registry: ScriptedRegistry): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < MISSES; i++) {
    const image = makeImage([bench.random.bytes(BYTES)]);
    registry.publish(image);
    registry.closeIdle();
    const { ms, verdict, why } = await service.get(image);
    if (verdict !== 'whole') bench.report(`a miss of the healthy registry: ${verdict} ${why}`);
    times.push(ms);
  }
  return times;
}
