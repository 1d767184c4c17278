/** Compares `/explain` with the result of the same request in random states of cache, registry and configuration. */
import { expect } from 'chai';
import fc from 'fast-check';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FilesystemPackageStore } from '../../src/adapters/filesystem/filesystem-package-store.ts';
import { type FinishedRequest, RequestHistory } from '../../src/adapters/http/server/request-record.ts';
import { ObservedRegistryGateway } from '../../src/adapters/observers/observed-ports.ts';
import { UpstreamHistory } from '../../src/adapters/observers/upstream-history.ts';
import { NegativeCache } from '../../src/adapters/registry/negative-cache.ts';
import { StaticCredentialProvider } from '../../src/adapters/static/static-credential-provider.ts';
import { NoPackageStore } from '../../src/adapters/unstored/no-package-store.ts';
import { ExplainPackage, type Explanation } from '../../src/application/explain-package.ts';
import { type Delivery, GetPackage } from '../../src/application/get-package.ts';
import { ResolvePackage } from '../../src/application/resolve-package.ts';
import type { Digest } from '../../src/domain/descriptor.ts';
import { PackageError, StoppingError } from '../../src/domain/errors.ts';
import {
  DEFAULT_REPOSITORY,
  type PackageRequest,
  parseRepositoryName,
  parseRepositoryPath,
} from '../../src/domain/reference.ts';
import { parseUpstream } from '../../src/domain/upstream.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { makeImage, makeIndex, makePackage } from '../support/image.ts';
import { makeRegistryGateway } from '../support/registry-gateway.ts';
import { readAll, readSome } from '../support/source.ts';

const PLATFORM = { os: 'linux', architecture: 'amd64' };
const image = makePackage(9000);
const index = makeIndex([{ image, platform: PLATFORM }]);
const empty = makeImage([]);
const large = makePackage(70_000, 2);
const other = makePackage(9000, 3);

/** The digests that requests ask for. */
const ASKED = { image, index, empty, large, 'a layer': { digest: image.layer.descriptor.digest } };
/** The events before a request, in any order. */
const EVENTS = {
  'the same request': (scene: Scene) => scene.get(),
  'a HEAD of it': (scene: Scene) => scene.head(),
  'a request for another package': (scene: Scene) => scene.get({ ...scene.request, digest: other.digest }),
  'a process that has resolved nothing yet': (scene: Scene) => {
    scene.restart();
  },
  'a reader that holds another package': (scene: Scene) => scene.hold({ ...scene.request, digest: other.digest }),
  'a download that does not end': (scene: Scene) => scene.stall(),
  'a registry that loses all its content': (scene: Scene) => {
    scene.answerAll(404);
  },
  'a registry that refuses the credential': (scene: Scene) => {
    scene.answerAll(401);
  },
  'a registry that throttles its clients': async (scene: Scene) => {
    scene.answerAll(429, { 'retry-after': '60' });
    await scene.get({ ...scene.request, digest: makePackage(1, 9).digest });
  },
  'a registry that asks for a wait for one URL': (scene: Scene) => {
    scene.answerAll(503, { 'retry-after': '60' });
  },
  'a registry whose layers are other bytes': (scene: Scene) => {
    scene.registry.script(({ url }, response) => {
      if (!url.includes('/blobs/')) return false;
      response.end(new Uint8Array(url.includes(large.layer.descriptor.digest) ? 70_000 : 9000));
      return true;
    });
  },
};
const LAYERS: Readonly<Record<keyof typeof ASKED, Digest | undefined>> = {
  image: image.layer.descriptor.digest,
  index: image.layer.descriptor.digest,
  large: large.layer.descriptor.digest,
  empty: undefined,
  'a layer': undefined,
};
const REPOSITORIES = {
  default: DEFAULT_REPOSITORY,
  unknown: parseRepositoryName('unknown.example/a'),
  'a whole registry': parseRepositoryName('whole.example'),
};
/** Budgets in bytes: too few for the blocks of a package, enough for one package, enough for all, no cache. */
const BUDGETS = [10_000, 28_672, 1_000_000, 0];

const state = fc.record({
  asked: fc.constantFrom(...(Object.keys(ASKED) as (keyof typeof ASKED)[])),
  events: fc.array(fc.constantFrom(...(Object.keys(EVENTS) as (keyof typeof EVENTS)[])), { maxLength: 4 }),
  repository: fc.constantFrom(...(['default', 'default', 'default', 'unknown', 'a whole registry'] as const)),
  path: fc.constantFrom(undefined, undefined, 'modules/a'),
  budget: fc.constantFrom(...BUDGETS),
});

/** States that every run tests, so that each verdict occurs. */
const usual = { asked: 'image', repository: 'default', path: undefined, budget: 1_000_000 } as const;
const EXAMPLES: [State][] = [
  [{ ...usual, events: [] }],
  [{ ...usual, events: ['the same request'] }],
  [{ ...usual, events: ['the same request', 'a process that has resolved nothing yet'] }],
  [{ ...usual, events: ['a HEAD of it'], budget: 10_000 }],
  [{ ...usual, events: ['a HEAD of it', 'a reader that holds another package'], budget: 28_672 }],
  [{ ...usual, events: ['a download that does not end'] }],
  [{ ...usual, events: ['a registry that throttles its clients'] }],
  [
    {
      ...usual,
      events: ['a download that does not end', 'a registry that throttles its clients'],
      budget: 10_000,
    },
  ],
  [{ ...usual, events: ['a registry that asks for a wait for one URL', 'the same request'] }],
  [{ ...usual, events: ['a registry that refuses the credential', 'the same request'] }],
  [{ ...usual, events: ['a registry that loses all its content', 'the same request'] }],
  [{ ...usual, events: ['a registry whose layers are other bytes', 'the same request'] }],
  [{ ...usual, events: ['the same request'], asked: 'empty' }],
  [{ ...usual, events: [], repository: 'unknown' }],
  [{ ...usual, events: [], repository: 'a whole registry' }],
];

type State = typeof state extends fc.Arbitrary<infer Value> ? Value : never;

/** The use cases of the service without HTTP, and their registry. */
class Scene {
  readonly registry: FakeRegistry;
  readonly request: PackageRequest;
  readonly store: FilesystemPackageStore | NoPackageStore;
  readonly #layer: Digest | undefined;
  readonly #directory: string;
  readonly #credentials: StaticCredentialProvider;
  readonly #history = new RequestHistory();
  readonly #stopping = new AbortController();
  readonly #upstreams = new UpstreamHistory();
  readonly #gateway = new NegativeCache(
    new ObservedRegistryGateway(makeRegistryGateway({ retryTimeoutMs: 0 }), [this.#upstreams.observe]),
  );
  readonly #held: Delivery[] = [];
  #isStalled = false;
  #useCases: { readonly resolve: ResolvePackage; readonly get: GetPackage; readonly explain: ExplainPackage };

  constructor(registry: FakeRegistry, directory: string, { asked, repository, path, budget }: State) {
    this.registry = registry;
    this.#directory = directory;
    this.#layer = LAYERS[asked];
    this.request = {
      digest: ASKED[asked].digest,
      repository: REPOSITORIES[repository],
      path: path === undefined ? undefined : parseRepositoryPath(path),
    };
    this.store = budget === 0 ? new NoPackageStore() : new FilesystemPackageStore({ directory, maxBytes: budget });
    const scheme = 'HTTP';
    this.#credentials = new StaticCredentialProvider([
      {
        name: parseRepositoryName('known.example'),
        isDefault: true,
        upstream: parseUpstream({ repo: `${registry.host}/a`, scheme }),
      },
      {
        name: REPOSITORIES['a whole registry'],
        isDefault: false,
        upstream: parseUpstream({ repo: registry.host, scheme }),
      },
    ]);
    this.#useCases = this.#begin();
  }

  static async open(state: State): Promise<Scene> {
    const registry = await FakeRegistry.start();
    registry.publish(index, empty, large, other);
    const scene = new Scene(registry, await mkdtemp(join(tmpdir(), 'explain-')), state);
    if (scene.store instanceof FilesystemPackageStore) await scene.store.load();
    return scene;
  }

  async close(): Promise<void> {
    this.#stopping.abort(new StoppingError());
    for (const { blob } of this.#held) await blob.close();
    await this.registry.close();
    if (this.store instanceof FilesystemPackageStore) await this.store.close();
    await rm(this.#directory, { recursive: true });
  }

  /** Drops all state except the files on the disk, as a restart does. */
  restart(): void {
    this.#useCases = this.#begin();
  }

  head(): Promise<unknown> {
    return this.#useCases.resolve.execute(this.request).catch(() => undefined);
  }

  explain(): Promise<Explanation> {
    return this.#useCases.explain.execute(this.request);
  }

  /** Makes a request, and resolves with its cache outcome or the code of its error. */
  async get(request = this.request): Promise<string> {
    let cache: Delivery['cache'] | undefined;
    let error: PackageError | undefined;
    try {
      const delivery = await this.#useCases.get.execute(request);
      ({ cache } = delivery);
      const isEndless = this.#isStalled && delivery.package.layer.digest === this.#layer && cache.kind !== 'hit';
      if (isEndless) this.#held.push(delivery);
      else await readAll(delivery.blob);
    } catch (caught) {
      if (!(caught instanceof PackageError)) throw caught;
      error = caught;
    }
    this.#history.observe({ route: '/package', method: 'GET', package: request, cache, error } as FinishedRequest);
    return error?.code ?? cache?.kind ?? '';
  }

  async hold(request: PackageRequest): Promise<void> {
    const delivery = await this.#useCases.get.execute(request).catch(() => undefined);
    if (delivery === undefined) return;
    this.#held.push(delivery);
    const { blob } = delivery;
    // The whole blob has arrived, so no state changes while the explanation is made.
    await readSome(blob, blob.size)
      .then(() => blob.read(blob.size))
      .catch(() => undefined);
  }

  async stall(): Promise<void> {
    const layer = this.#layer;
    if (layer === undefined) return;
    this.#isStalled = true;
    this.registry.script(({ url }, response) => {
      if (!url.endsWith(`/blobs/${layer}`)) return false;
      response.writeHead(200, { 'content-length': layer === large.layer.descriptor.digest ? 70_000 : 9000 });
      response.write('x');
      return true;
    });
    await this.get();
  }

  answerAll(status: number, headers: Record<string, string> = {}): void {
    this.registry.script((_request, response) => {
      response.writeHead(status, headers).end();
      return true;
    });
  }

  /** All state that an explanation must not change. */
  get footprint(): unknown {
    const { store, registry } = this;
    const { entries, evicted, damaged } = store.usage;
    return { requests: registry.log.length, entries, evicted, damaged, cached: store.list(99) };
  }

  #begin(): { resolve: ResolvePackage; get: GetPackage; explain: ExplainPackage } {
    const { store } = this;
    const credentials = this.#credentials;
    const ports = { store, credentials, gateway: this.#gateway, stopping: this.#stopping.signal };
    const resolve = new ResolvePackage({ ...ports, platform: PLATFORM });
    const get = new GetPackage({ ...ports, resolve, parallelDownloads: 64 });
    const images = { roots: () => Promise.resolve([]) };
    const inspection = { credentials, upstreams: this.#upstreams, requests: this.#history };
    return { resolve, get, explain: new ExplainPackage({ get, store, images, credentials, inspection }) };
  }
}

describe('an explanation', () => {
  it('predicts the result of the request, sends no request to a registry and does not count as a use', async () => {
    await fc.assert(
      fc.asyncProperty(state, async (given) => {
        const scene = await Scene.open(given);
        try {
          for (const event of given.events) await EVENTS[event](scene);
          const before = scene.footprint;
          const { verdict, layer } = await scene.explain();
          expect(scene.footprint).to.deep.equal(before);
          const { length } = scene.registry.log;
          const outcome = await scene.get();
          const isAsked = scene.registry.log.length > length;
          if (verdict.outcome === 'fail') {
            expect(outcome).to.equal(verdict.code);
            if (verdict.seenAt === undefined || verdict.retryAt !== undefined) expect(isAsked).to.equal(false);
          } else if (/^[A-Z]/.test(outcome)) {
            // The explanation cannot know that the registry will fail.
            expect([verdict.needsRegistry, isAsked || verdict.outcome === 'joined']).to.deep.equal([true, true]);
          } else if (layer !== undefined) {
            expect(outcome).to.equal(verdict.outcome);
          } else {
            // The manifest has the size and the repository of a layer.
            expect([verdict.outcome, isAsked]).to.deep.equal([
              scene.store.usage.maxBytes === 0 ? 'bypass' : 'miss',
              true,
            ]);
          }
        } finally {
          await scene.close();
        }
      }),
      { examples: EXAMPLES },
    );
  }).timeout(120_000);
});
