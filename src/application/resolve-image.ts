/** From a requested digest to all blobs of its image, whose manifests lie in the layout then. */
import { type Descriptor, type Digest, digestOf } from '../domain/descriptor.ts';
import { DigestMismatchError } from '../domain/errors.ts';
import { type Index, type Manifest, packageLayer, parseManifest } from '../domain/manifest.ts';
import type { PackageRequest } from '../domain/reference.ts';
import type { Platform } from '../domain/index-entry.ts';
import type { CredentialProvider } from '../domain/ports/credential-provider.ts';
import type { ImageLayout } from '../domain/ports/image-layout.ts';
import type { RegistryGateway } from '../domain/ports/registry-gateway.ts';
import { below } from '../domain/upstream.ts';
import { once } from './open-blob.ts';
import { patiently } from './patience.ts';
import { allManifests, platformManifest } from './platform-manifest.ts';
import { Turns } from './turns.ts';
import { writeBlob } from './write-blob.ts';

export interface Image {
  /** The descriptor of the requested manifest or index. */
  readonly descriptor: Descriptor;
  /** Configs and layers. */
  readonly blobs: readonly Descriptor[];
}

export interface ResolveImageOptions {
  readonly gateway: RegistryGateway;
  readonly credentials: CredentialProvider;
  readonly layout: ImageLayout;
  /** Whose image of an index is meant, or every one. */
  readonly platform: Platform | 'all';
}

interface Kept {
  readonly document: Manifest | Index;
  /** Bytes. */
  readonly size: number;
}

export class ResolveImage {
  readonly #options: ResolveImageOptions;
  readonly #turns = new Turns<Digest>();

  constructor(options: ResolveImageOptions) {
    this.#options = options;
  }

  /** Asks the layout before the registry. Rejects with StoreFailedError, or with what the registry cannot give. */
  async execute(request: PackageRequest, signal: AbortSignal): Promise<Image> {
    const { document, size } = await this.#manifest(request, request.digest, signal);
    const manifests = document.kind === 'manifest' ? [document] : await this.#children(request, document, signal);
    return {
      descriptor: { mediaType: document.mediaType, digest: request.digest, size },
      blobs: manifests.flatMap(({ config, layers }) => (config === undefined ? layers : [config, ...layers])),
    };
  }

  async #children(request: PackageRequest, index: Index, signal: AbortSignal): Promise<Manifest[]> {
    const { platform } = this.#options;
    const find = async (digest: Digest): Promise<Manifest | Index> =>
      (await this.#manifest(request, digest, signal)).document;
    return platform === 'all' ? allManifests(index, find) : [await platformManifest<never>(index, platform, find)];
  }

  /** Two packages may have it, and the second one finds it in the layout. */
  #manifest(request: PackageRequest, digest: Digest, signal: AbortSignal): Promise<Kept> {
    return this.#turns.take(digest, () => this.#keep(request, digest, signal));
  }

  async #keep({ repository, path }: PackageRequest, digest: Digest, signal: AbortSignal): Promise<Kept> {
    const { gateway, credentials, layout } = this.#options;
    const here = await layout.readManifest(digest);
    if (here !== undefined) return { document: parse(here), size: here.byteLength };
    const bytes = await patiently(
      async () => gateway.fetchManifest(below(await credentials.resolve(repository), path), digest, signal),
      signal,
    );
    const found = digestOf(bytes);
    if (found !== digest) throw new DigestMismatchError(digest, found);
    const document = parse(bytes);
    const descriptor = { mediaType: document.mediaType, digest, size: bytes.byteLength };
    await writeBlob(layout, descriptor, (offset) => Promise.resolve(once(bytes.subarray(offset))), signal);
    return { document, size: bytes.byteLength };
  }
}

/** An image without layers is no package, so the service could not serve it. */
function parse(bytes: Uint8Array): Manifest | Index {
  const document = parseManifest(bytes);
  if (document.kind === 'manifest') packageLayer(document);
  return document;
}
