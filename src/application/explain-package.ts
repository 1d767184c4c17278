/** What would become of a request and why, out of what is known here: nobody else is asked, and nothing is fetched. */
import type { Descriptor } from '../domain/descriptor.ts';
import type { Digest } from '../domain/digest.ts';
import { PackageError } from '../domain/errors.ts';
import { MAX_MANIFEST_BYTES } from '../domain/manifest.ts';
import type { PackageRequest } from '../domain/package.ts';
import type { CredentialProvider } from '../domain/ports/credential-provider.ts';
import { below } from '../domain/upstream.ts';
import {
  type ConfiguredRegistry,
  type CredentialSource,
  describeUpstream,
  type FailedRequests,
  type Fill,
  type Inspection,
  type KeptBlob,
  type UpstreamAnswer,
  type UpstreamDescription,
} from './inspection.ts';
import type { ResolvePackage } from './resolve-package.ts';
import { isOf, judge, type Verdict } from './verdict.ts';

export interface Explanation {
  readonly request: PackageRequest;
  readonly verdict: Verdict;
  readonly configuration: {
    /** What matched the repository's name. */
    readonly registry: ConfiguredRegistry | undefined;
    /** Where the package would be looked for, `path` included; undefined for the reason that `error` has. */
    readonly upstream: UpstreamDescription | undefined;
    readonly error: PackageError | undefined;
    readonly sources: readonly CredentialSource[];
    /** What requests could name instead; only when nothing matched. */
    readonly known: readonly ConfiguredRegistry[];
  };
  /** Undefined while a manifest is not here. */
  readonly layer: Descriptor | undefined;
  readonly kept: {
    /** Of the requested digest: a manifest, or an index of them. */
    readonly manifest: KeptBlob | undefined;
    readonly layer: KeptBlob | undefined;
  };
  readonly fill: Fill | undefined;
  /** What the upstream answered last: for each of the two, and whatever it was asked for. Behind an index, how that failed. */
  readonly answers: Readonly<Record<'manifest' | 'layer' | 'latest', UpstreamAnswer | undefined>>;
  /** Of this digest, of any repository; the latest first. */
  readonly failures: readonly FailedRequests[];
}

export interface ExplainPackageOptions {
  readonly resolve: Pick<ResolvePackage, 'recall'>;
  readonly credentials: CredentialProvider;
  readonly inspection: Inspection;
}

export class ExplainPackage {
  readonly #options: ExplainPackageOptions;

  constructor(options: ExplainPackageOptions) {
    this.#options = options;
  }

  async execute(request: PackageRequest): Promise<Explanation> {
    const { store, fills, upstreams, requests } = this.#options.inspection;
    const content = await attempt(() => this.#layer(request.digest));
    const configuration = await this.#configuration(request);
    const layer = content.value;
    const kept = { manifest: store.find(request.digest), layer: layer && store.find(layer.digest) };
    const fill = fills.fills().find((each) => each.layer.digest === layer?.digest);
    const failures = requests.failures().filter((failed) => failed.request?.digest === request.digest);
    const answers = answersOf({ ...configuration, answers: upstreams.answers(), request, layer, failures });
    const verdict = judge({
      request,
      layer,
      contentError: content.error,
      upstreamError: configuration.error,
      upstream: configuration.upstream,
      kept: kept.layer,
      fill,
      answers,
      failures,
      usage: store.usage,
    });
    return { request, verdict, configuration, layer, kept, fill, answers, failures };
  }

  /** A layer that is asked for as if it were a manifest is left alone: to open it could be to hash all of it. */
  async #layer(digest: Digest): Promise<Descriptor | undefined> {
    const { inspection, resolve } = this.#options;
    const kept = inspection.store.find(digest);
    if (kept !== undefined && kept.size > MAX_MANIFEST_BYTES) return undefined;
    return (await resolve.recall(digest))?.layer;
  }

  async #configuration({ repository, path }: PackageRequest): Promise<Explanation['configuration']> {
    const { credentials, inspection } = this.#options;
    const registries = inspection.credentials.registries();
    const registry = registries.find(({ names }) => names.includes(repository));
    const { value, error } = await attempt(async () =>
      describeUpstream(below(await credentials.resolve(repository), path)),
    );
    const sources = inspection.credentials.sources();
    return { registry, upstream: value, error, sources, known: registry === undefined ? registries : [] };
  }
}

/** What became of something that may fail in a way that we have a name for. */
interface Attempt<Value> {
  readonly value: Value | undefined;
  readonly error: PackageError | undefined;
}

async function attempt<Value>(act: () => Promise<Value>): Promise<Attempt<Value>> {
  try {
    return { value: await act(), error: undefined };
  } catch (error) {
    if (!(error instanceof PackageError)) throw error;
    return { value: undefined, error };
  }
}

interface Asked {
  readonly upstream: UpstreamDescription | undefined;
  readonly answers: readonly UpstreamAnswer[];
  readonly request: PackageRequest;
  readonly layer: Descriptor | undefined;
  readonly failures: readonly FailedRequests[];
}

function answersOf({ upstream, answers, request, layer, failures }: Asked): Explanation['answers'] {
  const ofHost = answers.filter(({ host }) => host === upstream?.host);
  const here = ofHost.filter(({ repository }) => repository === upstream?.repository);
  const last = (operation: UpstreamAnswer['operation'], digest: string | undefined): UpstreamAnswer | undefined =>
    here.find((answer) => answer.operation === operation && answer.digest === digest);
  const manifest = last('manifest', request.digest);
  const isEnough = layer !== undefined || (manifest !== undefined && manifest.code !== 'OK');
  return {
    manifest: isEnough ? manifest : (behindIndex(here, failures.filter(isOf(request)), manifest) ?? manifest),
    layer: last('blob', layer?.digest),
    latest: ofHost[0],
  };
}

/** An index is kept or answered, its manifest is not: no client asks for that, but requests have failed with its error. */
function behindIndex(
  answers: readonly UpstreamAnswer[],
  failures: readonly FailedRequests[],
  index: UpstreamAnswer | undefined,
): UpstreamAnswer | undefined {
  const since = failures.filter(({ lastAt }) => index === undefined || lastAt >= index.at);
  return answers.find(
    ({ operation, code, at }) =>
      operation === 'manifest' && since.some((failed) => failed.code === code && failed.lastAt >= at),
  );
}
