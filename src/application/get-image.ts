/** Images of the command line by tag or digest: their tags, their manifests, and the package of one platform. */
import { type Digest, digestOf } from '../domain/descriptor.ts';
import { DigestMismatchError, InvalidContentError, PackageUnknownError } from '../domain/errors.ts';
import { type Platform, platformCandidates } from '../domain/index-entry.ts';
import { type Index, type Manifest, parseManifest } from '../domain/manifest.ts';
import type { PackageRequest, RepositoryPath, Tag } from '../domain/reference.ts';
import type { ImageCatalog } from '../domain/ports/image-catalog.ts';
import type { RegistryGateway } from '../domain/ports/registry-gateway.ts';
import type { ImageRoots, PlacedImage } from './image-roots.ts';
import type { ResolveSignedPackage } from './resolve-signed-package.ts';
import { SingleFlight } from './single-flight.ts';

const MAX_BYTES = 1 << 20;

export type ImageVersion = { readonly digest: Digest } | { readonly tag: Tag };

export interface FoundManifest {
  readonly digest: Digest;
  readonly bytes: Uint8Array;
  readonly document: Manifest | Index;
}

export interface GetImageOptions {
  readonly roots: ImageRoots;
  readonly catalog: ImageCatalog;
  readonly gateway: Pick<RegistryGateway, 'fetchManifest'>;
  /** The platform of requests that name none. */
  readonly platform: Platform;
  /** Undefined where signatures are not verified. */
  readonly signatures?: Pick<ResolveSignedPackage, 'check' | 'learn'> | undefined;
}

export class GetImage {
  readonly #options: GetImageOptions;
  readonly #listings = new SingleFlight<RepositoryPath, readonly string[]>();

  constructor(options: GetImageOptions) {
    this.#options = options;
  }

  /** Concurrent requests share one listing; it is never cached, since tags move. */
  tags(image: RepositoryPath, signal: AbortSignal): Promise<readonly string[]> {
    const { roots, catalog } = this.#options;
    return this.#listings.run(image, async () => {
      const { answer } = await roots.find(image, ({ upstream }) => catalog.listTags(upstream, signal));
      return answer;
    });
  }

  /** The manifest or index as the registry has it, its bytes verified when a digest names it. */
  async manifest(image: RepositoryPath, version: ImageVersion, signal: AbortSignal): Promise<FoundManifest> {
    const { answer, place } = await this.#find(image, version, signal);
    await this.#options.signatures?.check({ ...place.request, digest: answer.digest });
    return answer;
  }

  /**
   * The request by which GetPackage has the image of a platform. Rejects with PackageUnknownError when an index has none
   * for it, and with InvalidContentError when it leads to another index.
   */
  async image(
    image: RepositoryPath,
    version: ImageVersion,
    platform: Platform | undefined,
    signal: AbortSignal,
  ): Promise<PackageRequest> {
    const { answer, place } = await this.#find(image, version, signal);
    const digest = chosen(answer, platform ?? this.#options.platform);
    // The signature of an index covers its images, which GetPackage does not see it with.
    if (digest !== answer.digest) await this.#options.signatures?.learn({ ...place.request, digest: answer.digest });
    return { ...place.request, digest };
  }

  async #find(
    image: RepositoryPath,
    version: ImageVersion,
    signal: AbortSignal,
  ): Promise<{ readonly place: PlacedImage; readonly answer: FoundManifest }> {
    const { roots, catalog, gateway } = this.#options;
    return roots.find(image, async ({ upstream }) => {
      if ('tag' in version) {
        const tagged = await catalog.fetchTagged(upstream, version.tag, signal);
        return { digest: digestOf(tagged), bytes: tagged, document: parse(tagged) };
      }
      const bytes = await gateway.fetchManifest(upstream, version.digest, signal);
      const found = digestOf(bytes);
      if (found !== version.digest) throw new DigestMismatchError(version.digest, found);
      return { digest: found, bytes, document: parse(bytes) };
    });
  }
}

/** The manifest of a platform out of an index. A single image is taken as it is, for any platform. */
function chosen({ digest, document }: FoundManifest, platform: Platform): Digest {
  if (document.kind === 'manifest') return digest;
  const [entry] = platformCandidates(document.manifests, platform);
  if (entry === undefined) throw new PackageUnknownError('MANIFEST_UNKNOWN');
  if (entry.isIndex) throw new InvalidContentError('index leads to another index');
  return entry.digest;
}

/** The clients read no more of a manifest, and one of 1 MiB is parsed in some milliseconds. */
function parse(bytes: Uint8Array): Manifest | Index {
  if (bytes.byteLength > MAX_BYTES) throw new InvalidContentError('manifest is larger than 1 MiB');
  return parseManifest(bytes);
}
