/** Finds the icon of a package by its name and version, in the image that a package repository publishes. */
import { type Digest, digestOf } from '../domain/descriptor.ts';
import {
  InvalidContentError,
  isOneOf,
  PackageError,
  PackageUnknownError,
  PlatformMissingError,
  TooManyQuestionsError,
  UpstreamTimeoutError,
} from '../domain/errors.ts';
import type { Platform } from '../domain/index-entry.ts';
import type { Index, Manifest } from '../domain/manifest.ts';
import type { CredentialProvider } from '../domain/ports/credential-provider.ts';
import type { ImageCatalog, RegistryGateway } from '../domain/ports/registry-gateway.ts';
import type { LayerFiles } from '../domain/ports/layer-files.ts';
import {
  joinPath,
  parseRepositoryPath,
  type RepositoryName,
  type RepositoryPath,
  type Tag,
} from '../domain/reference.ts';
import { latestOf } from '../domain/semantic-version.ts';
import { below, type Upstream } from '../domain/upstream.ts';
import { DownloadSlots } from './download-slots.ts';
import { iconOfLayers } from './icon-of-layers.ts';
import { type Icon, KeptIcons } from './kept-icons.ts';
import { fetchManifest, parseVerified, platformManifest } from './manifests.ts';
import { openBlob, resumedDownload } from './resumed-download.ts';
import { Allowance } from './concurrency/allowance.ts';
import { SingleFlight } from './concurrency/single-flight.ts';

/** Clients wait 30 s for the head of an answer. */
const TIMEOUT_MS = 25_000;
/** Versions are published below the repository of the package; the documentation describes them in that repository itself. */
const VERSIONS = parseRepositoryPath('version');
const PARALLEL_EXTRACTIONS = 2;
const MAX_WAIT_MS = 5000;
/** The limit of requests for images: a page of some hundred packages at once, and then ten a second. */
const QUESTIONS = { burst: 500, perSecond: 10 };

/** The steps to find an icon. `tags` fails if there are no tags, `versions` if none of them is a version. */
export type IconStep = 'repository' | 'listing' | 'tags' | 'versions' | 'tag' | 'image' | 'icon';

/** The failed step with its cause. */
export class IconError extends Error {
  override readonly name = 'IconError';
  readonly step: IconStep;
  readonly error: PackageError;
  constructor(step: IconStep, error: PackageError) {
    super(error.message, { cause: error });
    this.step = step;
    this.error = error;
  }
}

export interface IconRequest {
  /** The name of the package repository. */
  readonly repository: RepositoryName;
  readonly package: RepositoryPath;
  /** Undefined for the latest version. */
  readonly version: Tag | undefined;
}

interface GetIconOptions {
  readonly repositories: CredentialProvider;
  readonly catalog: ImageCatalog;
  readonly gateway: Pick<RegistryGateway, 'fetchManifest' | 'fetchBlob'>;
  readonly files: LayerFiles;
  /** The platform to which an index resolves. */
  readonly platform: Platform;
  /** Aborted when the process stops. */
  readonly stopping: AbortSignal;
}

/** An image of a package with the bytes of its manifest or index. */
interface TaggedImage {
  readonly upstream: Upstream;
  readonly bytes: Uint8Array;
}

export class GetIcon {
  readonly #options: GetIconOptions;
  readonly #kept = new KeptIcons();
  readonly #requests = new SingleFlight<string, Icon>();
  readonly #extractions = new SingleFlight<Digest, Icon>();
  readonly #questions = new Allowance(QUESTIONS);
  readonly #slots = new DownloadSlots({ max: PARALLEL_EXTRACTIONS, maxWaitMs: MAX_WAIT_MS });

  constructor(options: GetIconOptions) {
    this.#options = options;
  }

  /** Rejects with IconError, or with UpstreamTimeoutError after 25 s. Equal requests share one answer. */
  async execute(request: IconRequest): Promise<Icon> {
    const { repository, package: name, version = '' } = request;
    const key = `${repository} ${name} ${version}`;
    const root = await at('repository', this.#options.repositories.resolve(repository));
    const recalled = this.#kept.recall(key, root.registry);
    if (recalled !== undefined) return recalled;
    return this.#requests.run(key, () => this.#bounded((signal) => this.#find(key, request, root, signal)));
  }

  async #find(
    key: string,
    { package: name, version }: IconRequest,
    root: Upstream,
    signal: AbortSignal,
  ): Promise<Icon> {
    if (!this.#questions.take()) throw new TooManyQuestionsError();
    const places = [joinPath(name, VERSIONS), name].map((path) => below(root, path));
    const image =
      version === undefined
        ? await firstOf(places, (upstream) => this.#latest(upstream, signal))
        : await firstOf(places, (upstream) => this.#tagged(upstream, version, signal));
    const { digest, manifest } = await at('image', this.#manifest(image, signal));
    this.#kept.remember(key, root.registry, digest);
    return (
      this.#kept.find(digest) ??
      this.#extractions.run(digest, () => this.#bounded((own) => this.#extract(image.upstream, digest, manifest, own)))
    );
  }

  async #latest(upstream: Upstream, signal: AbortSignal): Promise<TaggedImage> {
    const tags = await at('listing', this.#options.catalog.listTags(upstream, signal));
    const latest = latestOf(tags);
    if (latest !== undefined) return this.#tagged(upstream, latest, signal);
    throw new IconError(tags.length === 0 ? 'tags' : 'versions', new PackageUnknownError('MANIFEST_UNKNOWN'));
  }

  async #tagged(upstream: Upstream, tag: Tag, signal: AbortSignal): Promise<TaggedImage> {
    return { upstream, bytes: await at('tag', this.#options.catalog.fetchTagged(upstream, tag, signal)) };
  }

  /** Follows indexes to the manifest of the platform. */
  async #manifest(
    { upstream, bytes }: TaggedImage,
    signal: AbortSignal,
  ): Promise<{ readonly digest: Digest; readonly manifest: Manifest }> {
    const { gateway, platform } = this.#options;
    const { document } = await parseVerified(bytes);
    // The last document that is requested for an index is the manifest.
    let digest = digestOf(bytes);
    const find = async (inner: Digest): Promise<Manifest | Index> => {
      digest = inner;
      return (await fetchManifest(gateway, upstream, inner, signal)).document;
    };
    try {
      const manifest = document.kind === 'index' ? await platformManifest<never>(document, platform, find) : document;
      return { digest, manifest };
    } catch (cause) {
      throw cause instanceof PlatformMissingError ? new PackageUnknownError('MANIFEST_UNKNOWN', { cause }) : cause;
    }
  }

  async #extract(upstream: Upstream, digest: Digest, { layers }: Manifest, signal: AbortSignal): Promise<Icon> {
    const { files, gateway } = this.#options;
    const slot = await at('image', this.#slots.acquire(upstream.registry, signal));
    try {
      const open = (layer: Manifest['layers'][number]): Promise<AsyncIterable<Uint8Array>> =>
        resumedDownload(layer.size, (offset) =>
          openBlob(gateway, () => Promise.resolve(upstream), layer, offset, signal),
        );
      const icon = { ...(await iconOfLayers(layers, { files, open, signal })), manifest: digest };
      this.#kept.keep(icon);
      return icon;
    } catch (error) {
      const failure = failureOf(error);
      if (failure !== undefined && isFact(failure)) this.#kept.keepFailure(digest, failure);
      throw failure ?? error;
    } finally {
      slot.release();
    }
  }

  async #bounded<Outcome>(work: (signal: AbortSignal) => Promise<Outcome>): Promise<Outcome> {
    const late = new AbortController();
    const timer = setTimeout(() => {
      late.abort(new UpstreamTimeoutError());
    }, TIMEOUT_MS);
    const signal = AbortSignal.any([this.#options.stopping, late.signal]);
    const { promise: aborted, reject } = Promise.withResolvers<never>();
    const abort = (): void => {
      reject(signal.reason as Error);
    };
    signal.addEventListener('abort', abort);
    try {
      signal.throwIfAborted();
      return await Promise.race([work(signal), aborted]);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
    }
  }
}

/** Resolves with the first answer of the places; otherwise rejects with the clearest failure. */
async function firstOf(
  places: readonly Upstream[],
  ask: (place: Upstream) => Promise<TaggedImage>,
): Promise<TaggedImage> {
  const failures: unknown[] = [];
  for (const place of places) {
    try {
      return await ask(place);
    } catch (error) {
      // After a temporary failure the next place is not asked, because its answer might not be the right one.
      if (weightOf(error) === undefined) throw error;
      failures.push(error);
    }
  }
  throw failures.toSorted((one, other) => (weightOf(one) ?? 0) - (weightOf(other) ?? 0))[0];
}

/** Orders failures: the lower, the clearer. Undefined for a temporary failure. */
function weightOf(failure: unknown): number | undefined {
  if (!(failure instanceof IconError)) return undefined;
  const { step, error } = failure;
  if (step === 'versions') return 0;
  if (step === 'tags') return 1;
  if (isOneOf(error, 'MANIFEST_UNKNOWN', 'BLOB_UNKNOWN')) return 2;
  // Some registries deny access to a repository that does not exist.
  return isOneOf(error, 'UPSTREAM_DENIED') ? 3 : undefined;
}

async function at<Outcome>(step: IconStep, work: Promise<Outcome>): Promise<Outcome> {
  try {
    return await work;
  } catch (error) {
    throw error instanceof PackageError ? new IconError(step, error) : error;
  }
}

/** The failed step for an error of the extraction; undefined if it is not an error of the domain. */
function failureOf(error: unknown): IconError | undefined {
  if (error instanceof InvalidContentError) {
    return new IconError('icon', new PackageUnknownError('BLOB_UNKNOWN', { cause: error }));
  }
  return error instanceof PackageError ? new IconError('image', error) : undefined;
}

/** Whether the failure is a property of the image, not of its registry. */
function isFact({ error }: IconError): boolean {
  return isOneOf(error, 'BLOB_UNKNOWN', 'DIGEST_MISMATCH');
}
