/** Explains the outcome that a request would have, from known facts: no upstream is asked, and nothing is fetched. */
import type { Descriptor } from '../domain/descriptor.ts';
import type { Digest } from '../domain/digest.ts';
import { PackageError } from '../domain/errors.ts';
import { MAX_MANIFEST_BYTES } from '../domain/manifest.ts';
import type { PackageRequest } from '../domain/package.ts';
import type { CredentialProvider } from '../domain/ports/credential-provider.ts';
import { below, type Upstream } from '../domain/upstream.ts';
import {
  type ConfiguredRegistry,
  type CredentialSource,
  describeUpstream,
  type FailedRequests,
  type Download,
  type Inspection,
  type KeptBlob,
  type UpstreamDescription,
} from './inspection.ts';
import { lastAnswers, type LastAnswers } from './last-answers.ts';
import type { ResolvePackage } from './resolve-package.ts';
import { judge, type Verdict } from './verdict.ts';

export interface Explanation {
  readonly request: PackageRequest;
  readonly verdict: Verdict;
  readonly configuration: {
    /** The registry that matches the repository's name. */
    readonly registry: ConfiguredRegistry | undefined;
    /** Where the package would be looked for, `path` included; undefined for the reason that `error` has. */
    readonly upstream: UpstreamDescription | undefined;
    readonly error: PackageError | undefined;
    readonly sources: readonly CredentialSource[];
    /** The registries that requests could name instead; only when none matches. */
    readonly known: readonly ConfiguredRegistry[];
  };
  /** Undefined while a manifest is not here. */
  readonly layer: Descriptor | undefined;
  readonly kept: {
    /** The cached manifest or index of the requested digest. */
    readonly manifest: KeptBlob | undefined;
    readonly layer: KeptBlob | undefined;
  };
  readonly download: Download | undefined;
  readonly answers: LastAnswers;
  /** Failures of this digest, in any repository; the latest first. */
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
    const { store, downloads, upstreams, requests } = this.#options.inspection;
    const content = await attempt(() => this.#layer(request.digest));
    const upstream = await this.#upstream(request);
    const configuration = this.#configuration(request, upstream);
    const layer = content.value;
    const kept = { manifest: store.find(request.digest), layer: layer && store.find(layer.digest) };
    const registry = upstream.value?.registry;
    const download = layer && registry && downloads.find(layer, registry);
    const failures = requests.failures().filter((failed) => failed.request?.digest === request.digest);
    const answers = lastAnswers({ upstreams, upstream: upstream.value, request, layer, failures });
    const verdict = judge({
      request,
      layer,
      contentError: content.error,
      upstreamError: upstream.error,
      upstream: upstream.value,
      kept: kept.layer,
      download,
      answers,
      failures,
      usage: store.usage,
    });
    return { request, verdict, configuration, layer, kept, download, answers, failures };
  }

  /** A layer that is asked for as if it were a manifest is left alone: to open it could be to hash all of it. */
  async #layer(digest: Digest): Promise<Descriptor | undefined> {
    const { inspection, resolve } = this.#options;
    const kept = inspection.store.find(digest);
    if (kept !== undefined && kept.size > MAX_MANIFEST_BYTES) return undefined;
    const layer = (await resolve.recall(digest))?.layer;
    // Its content, when the descriptor holds it, explains nothing.
    return layer && { mediaType: layer.mediaType, digest: layer.digest, size: layer.size };
  }

  #upstream({ repository, path }: PackageRequest): Promise<Attempt<Upstream>> {
    return attempt(async () => below(await this.#options.credentials.resolve(repository), path));
  }

  #configuration({ repository }: PackageRequest, { value, error }: Attempt<Upstream>): Explanation['configuration'] {
    const { credentials } = this.#options.inspection;
    const registries = credentials.registries();
    const registry = registries.find(({ names }) => names.includes(repository));
    const upstream = value && describeUpstream(value);
    return { registry, upstream, error, sources: credentials.sources(), known: registry ? [] : registries };
  }
}

/** The outcome of an operation that can fail with a typed error. */
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
