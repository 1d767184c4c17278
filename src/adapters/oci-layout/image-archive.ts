/** RegistryGateway to an archive of images, which is read in place without unpacking. */
import type { Descriptor, Digest } from '../../domain/descriptor.ts';
import { InvalidContentError, PackageUnknownError } from '../../domain/errors.ts';
import { MAX_MANIFEST_BYTES } from '../../domain/manifest.ts';
import type { RegistryGateway } from '../../domain/ports/registry-gateway.ts';
import type { Upstream } from '../../domain/upstream.ts';
import { type ArchiveContents, type ArchivedImage, contentsOf } from './archive-contents.ts';
import { readable, unreadable } from './layout.ts';
import { TarArchive } from './tar-archive.ts';

/** The archive is the only upstream, so registry and repository of a request are ignored. */
export class ImageArchive implements RegistryGateway {
  readonly #archive: TarArchive;
  readonly #contents: ArchiveContents;

  private constructor(archive: TarArchive, contents: ArchiveContents) {
    this.#archive = archive;
    this.#contents = contents;
  }

  /** Rejects as `TarArchive.open`, and for an archive without images. */
  static async open(path: string, signal: AbortSignal): Promise<ImageArchive> {
    const archive = await TarArchive.open(path, signal);
    try {
      return new ImageArchive(archive, await contentsOf(archive));
    } catch (error) {
      archive.close();
      throw error;
    }
  }

  get images(): readonly ArchivedImage[] {
    return this.#contents.images;
  }

  close(): void {
    this.#archive.close();
  }

  async fetchManifest(_upstream: Upstream, digest: Digest, signal: AbortSignal): Promise<Uint8Array> {
    signal.throwIfAborted();
    const found = this.#contents.find(digest);
    if (found === undefined) throw new PackageUnknownError('MANIFEST_UNKNOWN');
    if (found instanceof Uint8Array) return found;
    if (found.size > MAX_MANIFEST_BYTES) throw new InvalidContentError('manifest is larger than 4 MiB');
    return this.#archive.read(found).catch((cause: unknown) => {
      throw unreadable(digest, cause);
    });
  }

  // eslint-disable-next-line @typescript-eslint/require-await -- its failures are rejections
  async fetchBlob(
    _upstream: Upstream,
    { digest, size }: Descriptor,
    offset: number,
    signal: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array>> {
    signal.throwIfAborted();
    const found = this.#contents.find(digest);
    if (found === undefined || found instanceof Uint8Array) throw new PackageUnknownError('BLOB_UNKNOWN');
    if (found.size !== size) throw unreadable(digest, new Error(`file does not have ${String(size)} bytes`));
    return readable(this.#archive.stream(found, offset, signal), digest);
  }

  knownRefusal(): undefined {
    return undefined;
  }
}
