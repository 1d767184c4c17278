/** A registry whose name servers are silent, beside one whose name is known: the second one must not notice. */
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
/** More than libuv's threads by far. */
const WAITING = 24;
const BYTES = 100_000;
const MISSES = 40;

export const DEAD_NAME_SERVER: Fault = {
  id: 'F30',
  what: 'name servers that are silent about a registry, for which 24 clients wait, beside a healthy registry',
  expected:
    '504 within the budget from the one; misses of the other, each on a new connection, at most 1.5 times as slow',
  async run(bench) {
    const registry = await bench.startRegistry({ auth: 'anonymous' });
    const names = await openOwnNames(bench, `127.0.0.1 ${HEALTHY}\n`, () => 'silence');
    if ('reason' in names) return { injected: 0, figures: `skipped: ${names.reason}`, violations: [] };
    // A lookup that has failed is remembered, so each round has a name of its own.
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
      figures: `a miss took ${before.toFixed(1)} ms without and ${during.toFixed(1)} ms with them (medians of ${String(alone.length)}); ${tally(refused)}, after ${String(names.server.questions.length)} questions to the server`,
      violations: [
        ...(during > MAX_RATIO * before ? [`misses took ${(during / before).toFixed(1)} times as long`] : []),
        ...strange.map(({ verdict, status, why }) => `the dead registry: ${verdict} ${String(status)} ${why}`),
      ],
    };
  },
};

/** How long each took, in milliseconds; the registry closes each connection behind its answers. */
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
