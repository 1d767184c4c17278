/** Images of the command line d8 by tag or digest: their tags, their manifests, and the package of a platform. */
import { type Digest, digestOf } from '../domain/descriptor.ts';
import { DescribedError, InvalidContentError, isOneOf, PackageError, PackageUnknownError } from '../domain/errors.ts';
import { type Platform, platformCandidates } from '../domain/index-entry.ts';
import type { CredentialProvider } from '../domain/ports/credential-provider.ts';
import type { ImageCatalog, RegistryGateway } from '../domain/ports/registry-gateway.ts';
import {
  DEFAULT_REPOSITORY,
  type ImageVersion,
  type PackageRequest,
  type RepositoryPath,
} from '../domain/reference.ts';
import { parentOf, type Registry, type Upstream } from '../domain/upstream.ts';
import { SingleFlight } from './concurrency/single-flight.ts';
import { fetchManifest, parseVerified, upstreamOf, type VerifiedManifest } from './manifests.ts';
import type { ResolveSignedPackage } from './resolve-signed-package.ts';

/** The clients read at most this many bytes of a manifest. */
const MAX_BYTES = 1 << 20;
/** The editions of the platform, which are the last segments of repositories. */
const EDITIONS: ReadonlySet<string> = new Set(['ce', 'be', 'se', 'se-plus', 'ee', 'fe', 'cse']);

interface FoundManifest extends VerifiedManifest {
  readonly digest: Digest;
}

/** A repository in which an image may be. */
type Place = Pick<PackageRequest, 'repository' | 'path' | 'isBeside'>;

/** A place where images are looked for by name, and its last answer to a request for any image. */
export interface ImageRoot {
  readonly host: string;
  readonly repository: RepositoryPath | undefined;
  readonly answer: RootAnswer | undefined;
}

interface RootAnswer {
  readonly at: Date;
  readonly image: RepositoryPath;
  /** Undefined when it had the image. */
  readonly error: PackageError | undefined;
}

/** The last answers of the places of one configuration. */
interface Roots {
  /** Whether the last answer came from beside the repository. */
  isBeside: boolean;
  /** By whether it is beside the repository. */
  readonly answers: Map<boolean, RootAnswer>;
}

interface GetImageOptions {
  readonly credentials: CredentialProvider;
  readonly catalog: ImageCatalog;
  readonly gateway: Pick<RegistryGateway, 'fetchManifest'>;
  /** The platform of requests without a platform. */
  readonly platform: Platform;
  /** Undefined if signatures are not verified. */
  readonly signatures?: Pick<ResolveSignedPackage, 'check' | 'learn'> | undefined;
}

/** Looks for images in the default repository and, if its last segment is an edition, in its parent repository. */
export class GetImage {
  readonly #options: GetImageOptions;
  readonly #listings = new SingleFlight<RepositoryPath, readonly string[]>();
  /** A changed configuration is another registry object. */
  readonly #roots = new WeakMap<Registry, Roots>();

  constructor(options: GetImageOptions) {
    this.#options = options;
  }

  /** Lists the tags. Concurrent requests share one list, which is never cached, because tags move. */
  tags(image: RepositoryPath, signal: AbortSignal): Promise<readonly string[]> {
    const list = async (listing: AbortSignal): Promise<readonly string[]> => {
      const { answer } = await this.#find(image, (upstream) => this.#options.catalog.listTags(upstream, listing));
      return answer;
    };
    return this.#listings.run(image, list, signal);
  }

  /** The manifest or index as the registry has it; verified if it is requested by digest. */
  async manifest(image: RepositoryPath, version: ImageVersion, signal: AbortSignal): Promise<FoundManifest> {
    const { answer, place } = await this.#find(image, (upstream) => this.#fetch(upstream, version, signal));
    await this.#options.signatures?.check({ ...place, digest: answer.digest });
    return answer;
  }

  /**
   * Resolves with the request for the image of a platform, for GetPackage. Rejects with PackageUnknownError if an index has no
   * such image, and with InvalidContentError if it refers to another index.
   */
  async image(
    image: RepositoryPath,
    version: ImageVersion,
    platform: Platform | undefined,
    signal: AbortSignal,
  ): Promise<PackageRequest> {
    const { answer, place } = await this.#find(image, (upstream) => this.#fetch(upstream, version, signal));
    const digest = digestFor(platform ?? this.#options.platform, answer);
    // The signature of an index covers its images, but GetPackage gets only the image, not the index.
    if (digest !== answer.digest) await this.#options.signatures?.learn({ ...place, digest: answer.digest });
    return { ...place, digest };
  }

  /** In the order in which they are asked. Rejects as `CredentialProvider.resolve` does. */
  async roots(): Promise<ImageRoot[]> {
    const { credentials } = this.#options;
    const configured = await credentials.resolve(DEFAULT_REPOSITORY);
    const { answers } = this.#known(configured);
    const describe = async (isBeside: boolean): Promise<ImageRoot> => {
      const place = { repository: DEFAULT_REPOSITORY, path: undefined, isBeside };
      const { registry, repository } = await upstreamOf(place, credentials);
      return { host: registry.host, repository, answer: answers.get(isBeside) };
    };
    return Promise.all(this.#order(configured).map(describe));
  }

  /**
   * Resolves with the first answer of `ask` and its place. The place that answered before is asked first. If no place answers,
   * rejects with the clearest failure: a temporary one before "not found", and that before "denied".
   */
  async #find<Answer>(
    image: RepositoryPath,
    ask: (upstream: Upstream) => Promise<Answer>,
  ): Promise<{ readonly place: Place; readonly answer: Answer }> {
    const { credentials } = this.#options;
    const configured = await credentials.resolve(DEFAULT_REPOSITORY);
    const failures: { readonly where: string; readonly error: unknown }[] = [];
    const known = this.#known(configured);
    for (const isBeside of this.#order(configured)) {
      const place = { repository: DEFAULT_REPOSITORY, path: image, isBeside };
      const upstream = await upstreamOf(place, credentials);
      try {
        const answer = await ask(upstream);
        known.answers.set(isBeside, { at: new Date(), image, error: undefined });
        // After a temporary failure, the place that answered may be only the second choice.
        if (failures.every(({ error }) => isFinal(error))) known.isBeside = isBeside;
        return { place, answer };
      } catch (error) {
        // A client that left has no answer.
        if (error instanceof PackageError) known.answers.set(isBeside, { at: new Date(), image, error });
        failures.push({ where: `${upstream.registry.host}/${upstream.repository ?? ''}`, error });
      }
    }
    const [{ error: worst } = { error: undefined }] = failures.toSorted(
      (one, other) => weightOf(one.error) - weightOf(other.error),
    );
    if (!(worst instanceof PackageError)) throw worst;
    throw new DescribedError(worst, failures.map(({ where, error }) => `${where}: ${String(error)}`).join('; '));
  }

  #order(configured: Upstream): readonly boolean[] {
    const edition = configured.repository?.split('/').at(-1) ?? '';
    if (!EDITIONS.has(edition) || parentOf(configured) === undefined) return [false];
    return this.#known(configured).isBeside ? [true, false] : [false, true];
  }

  #known({ registry }: Upstream): Roots {
    const known = this.#roots.get(registry) ?? { isBeside: false, answers: new Map<boolean, RootAnswer>() };
    this.#roots.set(registry, known);
    return known;
  }

  async #fetch(upstream: Upstream, version: ImageVersion, signal: AbortSignal): Promise<FoundManifest> {
    const { catalog, gateway } = this.#options;
    const { document, bytes } =
      'tag' in version
        ? await parseVerified(await catalog.fetchTagged(upstream, version.tag, signal))
        : await fetchManifest(gateway, upstream, version.digest, signal);
    if (bytes.byteLength > MAX_BYTES) throw new InvalidContentError('manifest is larger than 1 MiB');
    return { digest: 'tag' in version ? digestOf(bytes) : version.digest, document, bytes };
  }
}

/** Returns the manifest of a platform in an index. A single image is used for any platform. */
function digestFor(platform: Platform, { digest, document }: FoundManifest): Digest {
  if (document.kind === 'manifest') return digest;
  const [entry] = platformCandidates(document.manifests, platform);
  if (entry === undefined) throw new PackageUnknownError('MANIFEST_UNKNOWN');
  if (entry.isIndex) throw new InvalidContentError('index leads to another index');
  return entry.digest;
}

/** Whether another request would get the same answer. */
function isFinal(error: unknown): boolean {
  return weightOf(error) > 0;
}

function weightOf(error: unknown): number {
  if (isOneOf(error, 'MANIFEST_UNKNOWN', 'BLOB_UNKNOWN')) return 1;
  return isOneOf(error, 'UPSTREAM_DENIED') ? 2 : 0;
}
