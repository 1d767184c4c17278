/** Many clients request one package that is not cached: they share one download, whether it fails or not. */
import { makeImage, type TestImage } from '../../../test/support/image.ts';
import type { GetOptions, Got } from '../traffic/client.ts';
import type { Fault, Seen } from '../fault.ts';
import type { FaultBench } from '../fault-bench.ts';
import type { FaultedService } from '../faulted-service.ts';
import type { Random } from '../traffic/random.ts';
import { holdingAfter, pacedAt, resettingAfter } from '../failpoints/registry/behaviours.ts';
import type { ScriptedRegistry } from '../failpoints/registry/scripted-registry.ts';
import { tally } from '../traffic/swarm.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
/** The package takes seconds to arrive; all clients request it during this time. */
const PACE = 40 * MIB;
const MAX_START_MS = 1000;

const STAMPEDE: Fault = {
  id: 'F21',
  what: '500 clients request a package that is not cached, by GET, HEAD and ranges. Then 64 clients request one of 64 MiB, and the first of them leaves after 10 % of it.',
  expected:
    'All clients get the right bytes. The service sends one request for the manifest and one for the blob, and downloads each byte once. The last client gets its first byte within 1 s after the first client. The next request is a hit.',
  run: stampede,
};

const BROKEN_STAMPEDE: Fault = {
  id: 'F22',
  what: 'A download fails at byte N, once or always, while 50 clients read at other offsets.',
  expected:
    'All clients get the right bytes after one more request, or all fail visibly. The service repeats the download once for all clients.',
  run: breakStampede,
};

export const STAMPEDES: readonly Fault[] = [STAMPEDE, BROKEN_STAMPEDE];

async function stampede(bench: FaultBench): Promise<Seen> {
  const { random } = bench;
  const registry = await bench.startRegistry();
  const service = await bench.startService({ registry, maxBytes: 1024 * MIB });
  const seen: Seen[] = [];
  const ends = { registry, service };
  seen.push(await runStampede(ends, makeImage([random.bytes(64 * KIB)]), mixed(random, 500, 64 * KIB, 0.8)));
  // Most clients request parts. If all read the whole package, the speed of the bench would be measured.
  seen.push(
    await runStampede(
      ends,
      makeImage([random.bytes(64 * MIB)]),
      mixed(random, 500, 64 * MIB, bench.isLong ? 0.2 : 0.04),
    ),
  );
  if (bench.isLong) {
    seen.push(await runStampede(ends, makeImage([random.bytes(256 * MIB)]), mixed(random, 500, 256 * MIB, 0.05)));
  }
  const leader: GetOptions = { leaveAfter: 6.4 * MIB };
  const followers: GetOptions[] = Array.from({ length: 63 }, () => ({}));
  seen.push(await runStampede(ends, makeImage([random.bytes(64 * MIB)]), [leader, ...followers]));
  return {
    injected: seen.reduce((total, { injected }) => total + injected, 0),
    figures: seen.map(({ figures }) => figures).join('; '),
    violations: seen.flatMap(({ violations }) => violations),
  };
}

interface Ends {
  readonly registry: ScriptedRegistry;
  readonly service: FaultedService;
}

/** Sends all requests at once. If the first client leaves, the others wait until it has its first bytes. */
async function runStampede(
  { registry, service }: Ends,
  image: TestImage,
  clients: readonly GetOptions[],
): Promise<Seen> {
  const { digest, size } = image.layer.descriptor;
  registry.publish(image);
  registry.script(digest, ({ place }) => (place === 'blob' ? pacedAt(PACE) : undefined));
  const [leader = {}, ...followers] = clients;
  const begun = Promise.withResolvers<undefined>();
  const leading = service.get(image, {
    ...leader,
    onBytes: () => {
      begun.resolve(undefined);
    },
  });
  if (leader.leaveAfter !== undefined) await begun.promise;
  const gots = await Promise.all([leading, ...followers.map((options) => service.get(image, options))]);
  const next = await service.get(image);
  const violations = gots
    .filter(({ verdict }) => verdict !== 'whole' && verdict !== 'left')
    .map(({ verdict, why }) => `${verdict}: ${why}`);
  const asked = { manifests: registry.requests('manifest', image.digest), blobs: registry.requests('blob', digest) };
  if (asked.manifests !== 1 || asked.blobs !== 1) {
    violations.push(`${String(asked.manifests)} manifest and ${String(asked.blobs)} blob requests`);
  }
  const bytes = registry.bytes('blob', digest);
  if (bytes !== size) violations.push(`${String(bytes)} bytes from upstream of a package of ${String(size)}`);
  if (!String(next.headers['cache-status']).endsWith('; hit')) violations.push('the next request is not a hit');
  const startMs = spread(gots.filter((_, index) => clients[index]?.range === undefined));
  if (startMs > MAX_START_MS)
    violations.push(`the last client got its first byte ${startMs.toFixed(0)} ms after the first client`);
  registry.withdraw(image);
  const figures = `${String(clients.length)} clients, ${String(size / KIB)} KiB: ${tally(gots)}, ${(bytes / size).toFixed(3)} times the size downloaded, last client ${startMs.toFixed(0)} ms after the first`;
  return { injected: clients.length, figures, violations };
}

/** The time between the first bytes of clients that read from the beginning. */
function spread(gots: readonly Got[]): number {
  const starts = gots.map(({ firstByteAt }) => firstByteAt).filter((at) => at !== undefined);
  return Math.max(...starts) - Math.min(...starts);
}

/** `whole`: the share of clients that request the whole package. The others send HEAD or request at most 256 KiB. */
function mixed(random: Random, count: number, size: number, whole: number): GetOptions[] {
  return Array.from({ length: count }, () => {
    if (random.chance(whole)) return {};
    if (random.chance(0.3)) return { method: 'HEAD' as const };
    const start = random.between(0, size);
    return { range: [start, Math.min(size, start + random.between(1, 256 * KIB))] as const };
  });
}

async function breakStampede(bench: FaultBench): Promise<Seen> {
  const { random } = bench;
  const registry = await bench.startRegistry();
  const service = await bench.startService({ registry });
  const violations: string[] = [];
  const all: Got[] = [];
  const rounds = bench.times(30, 1000);
  let mended = 0;
  for (let round = 0; round < rounds; round++) {
    const size = random.pick([40 * KIB, 300 * KIB, 2 * MIB]);
    const image = makeImage([random.bytes(size)]);
    const { digest } = image.layer.descriptor;
    const at = random.between(0, size);
    const isOnce = random.chance(0.5);
    const clients = mixed(random, 50, size, 0.5).map((options) => (options.method === 'HEAD' ? {} : options));
    const joined = Promise.withResolvers<undefined>();
    registry.publish(image);
    registry.script(digest, ({ place, attempt, offset }) => {
      if (place !== 'blob') return undefined;
      if (attempt === 1) return holdingAfter(at, joined.promise, 'resets');
      return isOnce ? undefined : resettingAfter(Math.max(0, at - offset));
    });
    const before = service.answers.length;
    const waiting = clients.map((options) => service.get(image, options));
    await service.begun(before + clients.length);
    joined.resolve(undefined);
    const gots = await Promise.all(waiting);
    all.push(...gots);
    mended += isOnce ? 1 : 0;
    violations.push(
      ...judge(gots, isOnce, registry.requests('blob', digest)).map(
        (one) => `byte ${String(at)} of ${String(size)}: ${one}`,
      ),
    );
    registry.withdraw(image);
  }
  const figures = `${tally(all)}; ${String(mended)} of ${String(rounds)} downloads were resumed`;
  return { injected: rounds, figures, violations };
}

/** The service gives up after four attempts without progress; it may send the request of each attempt three times. */
const MAX_REQUESTS = 12;

function judge(gots: readonly Got[], isMended: boolean, requests: number): string[] {
  const violations: string[] = [];
  const wholes = gots.filter(({ verdict }) => verdict === 'whole').length;
  if (wholes !== (isMended ? gots.length : 0)) violations.push(`mixed: ${tally(gots)}`);
  const statuses = new Set(gots.filter(({ verdict }) => verdict === 'refused').map(({ status }) => status));
  if (statuses.size > 1) violations.push(`several reasons: ${[...statuses].join(', ')}`);
  if (isMended ? requests !== 2 : requests > MAX_REQUESTS) violations.push(`${String(requests)} blob requests`);
  return violations;
}
