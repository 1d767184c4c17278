/** An API server that cannot be reached, or that breaks its lists and watches. */
import { setTimeout as sleep } from 'node:timers/promises';
import { BASIC } from '../../../test/support/fake-registry.ts';
import type { FakeKubeApi } from '../../../test/support/fake-kube-api.ts';
import { makeImage, type TestImage } from '../../../test/support/image.ts';
import type { Got } from '../traffic/client.ts';
import type { Fault } from '../fault.ts';
import type { FaultBench } from '../fault-bench.ts';
import type { FaultedService } from '../faulted-service.ts';
import type { ScriptedRegistry } from '../failpoints/registry/scripted-registry.ts';
import { tally } from '../traffic/swarm.ts';

const HEAL_LIMIT_MS = 5000;
const KIB = 1024;

const AWAY: Fault = {
  id: 'F18',
  what: 'The API server cannot be reached when the service starts, and later while the service serves packages.',
  expected:
    'No request for a known repository fails. A service that starts without an API server answers 503 with Retry-After and is not ready. New repositories are known within 5 s after the API server is back.',
  async run(bench) {
    const cluster = await WatchedCluster.set(bench);
    const violations: string[] = [];
    const { api, registry } = cluster;
    const port = api.port;
    const cold = await coldStart(cluster, port, violations);

    const service = await cluster.start();
    const hit = cluster.image();
    await cluster.untilKnown(service, registry.repo, hit);
    service.rest();
    await api.close();
    const returns = performance.now() + bench.times(6, 600) * 1000;
    const gots: Got[] = [];
    while (performance.now() < returns) {
      const query = { repository: registry.repo };
      gots.push(await service.get(hit, { query }), await service.get(cluster.image(), { query }));
      await sleep(20);
    }
    const failed = gots.filter(({ verdict }) => verdict !== 'whole');
    violations.push(...failed.map(({ verdict, why }) => `without an API server: ${verdict}, ${why}`));
    const lines = service.running.output.split('watching failed').length - 1;
    // One line a minute for each resource: ModuleSources, PackageRepositories, the ConfigMap with the registry's address, two Secrets.
    const allowed = 5 * Math.ceil(bench.times(6, 600) / 60);
    if (lines > allowed) violations.push(`${String(lines)} log lines, ${String(allowed)} at most`);
    cluster.know(`${registry.repo}/later`);
    await api.listen(port);
    const healMs = await cluster.untilKnown(service, `${registry.repo}/later`, cluster.image());
    for (const ms of [cold.healMs, healMs]) {
      if (ms > HEAL_LIMIT_MS)
        violations.push(`the repository was known only ${ms.toFixed(0)} ms after the return of the API server`);
    }
    return {
      injected: gots.length + cold.refused,
      figures: `without an API server: ${tally(gots)}, and ${String(cold.refused)} answers of 503 after a start; repositories known ${seconds(cold.healMs)} and ${seconds(healMs)} after its return`,
      violations,
    };
  },
};

const BAD_WATCHES: Fault = {
  id: 'F19',
  what: 'Watches of the API server end at once, answer 410 as a status or as an event, send garbage, fall silent or do not answer. Lists fail. Objects are malformed or deleted.',
  expected:
    'Within 5 s after the last fault the service knows the current objects. It lists each resource at most once a second. A malformed object does not affect other objects.',
  async run(bench) {
    // Each fault has its own API server and service, because a service retries more rarely the longer a fault lasts.
    const seen = await Promise.all(Object.entries(WATCH_FAULTS).map((fault) => endure(bench, ...fault)));
    const sum = (of: (one: Endured) => number): number => seen.reduce((total, one) => total + of(one), 0);
    const latest = Math.max(...seen.map(({ healMs }) => healMs));
    return {
      injected: sum(({ injected }) => injected),
      figures: `current objects known at most ${seconds(latest)} after a fault, ${String(sum(({ lists }) => lists))} lists in ${String(seen.length)} faults`,
      violations: seen.flatMap(({ violations }) => violations),
    };
  },
};

export const API_SERVER: readonly Fault[] = [AWAY, BAD_WATCHES];

const WATCH_FAULTS: Readonly<Record<string, (api: FakeKubeApi) => void>> = {
  'watches end at once': (api) => (api.watchFault = 'close'),
  '410 as an event': (api) => (api.watchFault = 'gone'),
  '410 as a status': (api) => (api.watchStatus = 410),
  garbage: (api) => (api.watchFault = 'garbage'),
  silence: (api) => (api.watchFault = 'silence'),
  'no answer': (api) => (api.watchFault = 'mute'),
  'lists fail': (api) => {
    api.watchFault = 'gone';
    api.listStatus = 500;
  },
};

interface Endured {
  readonly injected: number;
  readonly lists: number;
  readonly healMs: number;
  readonly violations: readonly string[];
}

async function endure(bench: FaultBench, what: string, begin: (api: FakeKubeApi) => void): Promise<Endured> {
  const cluster = await WatchedCluster.set(bench);
  const { api, registry } = cluster;
  const service = await cluster.start();
  const violations: string[] = [];
  await cluster.untilKnown(service, registry.repo, cluster.image());
  service.rest();
  begin(api);
  const before = api.log.length;
  api.cutWatches();
  api.putModuleSource('malformed', { repo: 7, scheme: 'GOPHER' });
  const later = `${registry.repo}/later`;
  cluster.know(later);
  const faulty = bench.times(4, 100);
  const deadline = performance.now() + bench.times(6000, 600_000);
  while (api.log.length - before < faulty && performance.now() < deadline) await sleep(20);
  const injected = api.log.length - before;
  const known = await service.get(cluster.image(), { query: { repository: registry.repo } });
  if (known.verdict !== 'whole') violations.push(`a repository known before: ${known.verdict}, ${known.why}`);
  await cluster.heal();
  const healMs = await cluster.untilKnown(service, later, cluster.image());
  if (healMs > HEAL_LIMIT_MS)
    violations.push(`the new repository was known only ${healMs.toFixed(0)} ms after the fault`);
  api.remove('modulesources', nameOf(later));
  const gone = await cluster.until(service, later, ({ status }) => status === 404);
  if (gone > HEAL_LIMIT_MS) violations.push(`a deleted repository was known for ${gone.toFixed(0)} ms`);
  for (const list of ['list modulesources', 'list secrets']) violations.push(...tooFrequent(list, api.requests(list)));
  const lists = api.requests('list modulesources').length;
  return { injected, lists, healMs, violations: violations.map((violation) => `${what}: ${violation}`) };
}

class WatchedCluster {
  readonly #bench: FaultBench;
  readonly api: FakeKubeApi;
  readonly registry: ScriptedRegistry;
  readonly #kubeconfig: string;

  private constructor(bench: FaultBench, api: FakeKubeApi, registry: ScriptedRegistry, kubeconfig: string) {
    this.#bench = bench;
    this.api = api;
    this.registry = registry;
    this.#kubeconfig = kubeconfig;
  }

  static async set(bench: FaultBench): Promise<WatchedCluster> {
    const { api, kubeconfig } = await bench.startKubeApi();
    const cluster = new WatchedCluster(bench, api, await bench.startRegistry({ auth: 'basic' }), kubeconfig);
    cluster.know(cluster.registry.repo);
    return cluster;
  }

  start(): Promise<FaultedService> {
    const settings = { credentials: { source: 'kubernetes' } };
    return this.#bench.startService({ settings, flags: ['--kubeconfig', this.#kubeconfig] });
  }

  /** Creates a ModuleSource for the repository. */
  know(repo: string): void {
    const auths = { [repo.split('/', 1)[0] ?? '']: { auth: BASIC.slice('Basic '.length) } };
    const dockerCfg = Buffer.from(JSON.stringify({ auths })).toString('base64');
    this.api.putModuleSource(nameOf(repo), { repo, scheme: 'HTTP', dockerCfg });
  }

  /** Ends the fault and all connections, as a restart of the API server does. */
  async heal(): Promise<void> {
    this.api.watchFault = this.api.watchStatus = this.api.listStatus = undefined;
    const { port } = this.api;
    await this.api.close();
    await this.api.listen(port);
  }

  /** An image that no client has requested. */
  image(): TestImage {
    const image = makeImage([this.#bench.random.bytes(10 * KIB)]);
    this.registry.publish(image);
    return image;
  }

  untilKnown(service: FaultedService, repository: string, image: TestImage): Promise<number> {
    return this.until(service, repository, ({ verdict }) => verdict === 'whole', image);
  }

  /** Resolves with the milliseconds until `isRight` accepted an answer; gives up after twice the limit. */
  async until(
    service: FaultedService,
    repository: string,
    isRight: (got: Got) => boolean,
    image?: TestImage,
  ): Promise<number> {
    const began = performance.now();
    for (;;) {
      const got = await service.get(image ?? this.image(), { query: { repository } });
      const ms = performance.now() - began;
      if (isRight(got) || ms > 2 * HEAL_LIMIT_MS) return ms;
      await sleep(20);
    }
  }
}

/** A service that starts without an API server. */
async function coldStart(
  cluster: WatchedCluster,
  port: number,
  violations: string[],
): Promise<{ refused: number; healMs: number }> {
  await cluster.api.close();
  const service = await cluster.start();
  const image = cluster.image();
  const query = { repository: cluster.registry.repo };
  const gots = await Promise.all(Array.from({ length: 20 }, () => service.get(image, { query })));
  const refused = gots.filter(({ status, headers }) => status === 503 && headers['retry-after'] !== undefined).length;
  if (refused < gots.length)
    violations.push(`after a start without an API server: ${tally(gots)} instead of 503 with Retry-After`);
  const readiness = await service.probe('/readyz');
  if (readiness.status !== 503) violations.push(`ready (${String(readiness.status)}) without any list`);
  await cluster.api.listen(port);
  const healMs = await cluster.untilKnown(service, cluster.registry.repo, image);
  const code = await service.stop();
  if (code !== 0) violations.push(`exit code ${String(code)}`);
  return { refused, healMs };
}

function nameOf(repo: string): string {
  return `source-${repo.split('/').slice(1).join('-')}`;
}

/** A gap may be a little shorter than a second, because timers can fire early. */
function tooFrequent(what: string, times: readonly number[]): string[] {
  const gaps = times.slice(1).map((at, index) => at - (times[index] ?? 0));
  const shortest = Math.min(Infinity, ...gaps);
  return shortest < 950 ? [`${what}: again after ${shortest.toFixed(0)} ms`] : [];
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
