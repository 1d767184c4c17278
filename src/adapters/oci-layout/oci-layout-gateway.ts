/** RegistryGateway to a directory in OCI image layout, for sites without a network (image-spec, image-layout.md). */
import { createReadStream } from 'node:fs';
import type { Descriptor, Digest } from '../../domain/descriptor.ts';
import { errnoOf, InvalidContentError, PackageUnknownError, UpstreamUnavailableError } from '../../domain/errors.ts';
import { type IndexEntry, parseIndexEntry } from '../../domain/index-entry.ts';
import { MAX_MANIFEST_BYTES } from '../../domain/manifest.ts';
import type { BlobSizes, ImageCatalog, RegistryGateway } from '../../domain/ports/registry-gateway.ts';
import type { Upstream } from '../../domain/upstream.ts';
import { closeNow, openBlob, readWhole } from '../blobs/blob-file.ts';
import { blobsOf, isArchive, NOT_UNPACKED, readable, readObject, unreadable } from './layout.ts';

const CHUNK_BYTES = 512 * 1024;

/** The directory is the only upstream, so registry and repository of a request are ignored. */
export class OciLayoutGateway implements RegistryGateway, BlobSizes {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /**
   * Verifies the layout before the first request. Resolves with the number of entries of index.json that the service cannot
   * use; they do no harm, because blobs are found by their digests. @throws UpstreamUnavailableError
   */
  async check(): Promise<number> {
    const layout = await this.#readJson('oci-layout');
    const version = layout['imageLayoutVersion'];
    if (typeof version !== 'string' || !version.startsWith('1.')) throw this.#noLayout('its version is not 1');
    const { entries, usable } = await this.#readIndex();
    return entries.length - usable.length;
  }

  /** Resolves with the digests in index.json, which clients can request. @throws UpstreamUnavailableError */
  async list(): Promise<Digest[]> {
    const { usable } = await this.#readIndex();
    return usable.map(({ digest }) => digest);
  }

  async #readIndex(): Promise<{ entries: unknown[]; usable: IndexEntry[] }> {
    // "docker save IMAGE@DIGEST" writes null.
    const entries = (await this.#readJson('index.json'))['manifests'] ?? [];
    if (!Array.isArray(entries)) throw this.#noLayout('its index.json has no list of manifests');
    return { entries, usable: entries.flatMap((entry) => parseIndexEntry(entry) ?? []) };
  }

  async #readJson(name: string): Promise<Record<string, unknown>> {
    try {
      return await readObject(this.#directory, name);
    } catch (cause) {
      if (isArchive(this.#directory))
        throw new UpstreamUnavailableError(`${this.#directory} ${NOT_UNPACKED}`, { cause });
      throw this.#noLayout(`its file "${name}" cannot be read`, cause);
    }
  }

  #noLayout(why: string, cause?: unknown): UpstreamUnavailableError {
    return new UpstreamUnavailableError(`${this.#directory} is not an OCI image layout: ${why}`, { cause });
  }

  async fetchManifest(_upstream: Upstream, digest: Digest, signal: AbortSignal): Promise<Uint8Array> {
    const { fd, size } = await this.#open('MANIFEST_UNKNOWN', digest, signal);
    try {
      if (size > MAX_MANIFEST_BYTES) throw new InvalidContentError('manifest is larger than 4 MiB');
      return await readWhole(fd, size);
    } catch (cause) {
      throw cause instanceof InvalidContentError ? cause : unreadable(digest, cause);
    } finally {
      closeNow(fd);
    }
  }

  async fetchBlob(
    _upstream: Upstream,
    { digest, size }: Descriptor,
    offset: number,
    signal: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array>> {
    const { fd, size: found } = await this.#open('BLOB_UNKNOWN', digest, signal);
    if (found !== size) {
      closeNow(fd);
      throw unreadable(digest, new Error(`file does not have ${String(size)} bytes`));
    }
    // The stream closes the file at its end, after an error, and if the iteration is left.
    return readable(createReadStream('', { fd, start: offset, highWaterMark: CHUNK_BYTES, signal }), digest);
  }

  async blobSize(_upstream: Upstream, digest: Digest, signal: AbortSignal): Promise<number> {
    const { fd, size } = await this.#open('BLOB_UNKNOWN', digest, signal);
    closeNow(fd);
    return size;
  }

  knownRefusal(): undefined {
    return undefined;
  }

  async #open(
    code: PackageUnknownError['code'],
    digest: Digest,
    signal: AbortSignal,
  ): Promise<{ readonly fd: number; readonly size: number }> {
    signal.throwIfAborted();
    try {
      return await openBlob(blobsOf(this.#directory).pathOf(digest));
    } catch (cause) {
      if (errnoOf(cause) === 'ENOENT') throw new PackageUnknownError(code);
      throw unreadable(digest, cause);
    }
  }
}

export class NoImageCatalog implements ImageCatalog {
  listTags(): Promise<never> {
    return Promise.reject(new PackageUnknownError('MANIFEST_UNKNOWN'));
  }

  fetchTagged(): Promise<never> {
    return Promise.reject(new PackageUnknownError('MANIFEST_UNKNOWN'));
  }

  listReferrers(): Promise<readonly []> {
    return Promise.resolve([]);
  }
}
