/** Delivers one file of a package: extracted once for all clients, after the verification of its layer. */
import { BoundedMap } from '../domain/bounded-map.ts';
import { type Descriptor, Digester, digestOf } from '../domain/descriptor.ts';
import { DigestMismatchError, InvalidContentError, isOneOf, StoreFullError } from '../domain/errors.ts';
import type { PackageRequest } from '../domain/reference.ts';
import type { LayerFiles } from '../domain/ports/layer-files.ts';
import type { BlobReader, PackageStore } from '../domain/ports/package-store.ts';
import { KeyedMutex } from './concurrency/keyed-mutex.ts';
import { SingleFlight } from './concurrency/single-flight.ts';
import type { GetPackage } from './get-package.ts';
import type { PackageResolver } from './resolve-package.ts';

/** More than the number of files that a cluster requests. */
const MAX_KNOWN = 1000;
const PARALLEL_EXTRACTIONS = 2;

export interface GetLayerFileOptions {
  readonly resolve: Pick<PackageResolver, 'execute'>;
  readonly packages: Pick<GetPackage, 'execute'>;
  readonly store: PackageStore;
  readonly files: LayerFiles;
  readonly limits: LayerFileLimits;
  /** Aborted when the process stops. */
  readonly stopping: AbortSignal;
}

interface LayerFileLimits {
  readonly maxFileBytes: number;
  /** The limit of unpacked bytes up to the end of the file. */
  readonly maxUnpackedBytes: number;
  readonly timeoutMs: number;
}

export interface DeliveredFile {
  readonly file: Descriptor;
  /** The caller must close it. */
  readonly blob: BlobReader;
  /** The time of the extraction, if the file was in the store. */
  readonly storedAt: Date | undefined;
}

/** An extracted file, with its bytes if the store cannot cache it. */
interface Extracted {
  readonly file: Descriptor;
  readonly held?: Uint8Array;
}

export class GetLayerFile {
  readonly #options: GetLayerFileOptions;
  /** The result for each layer and name is remembered, because it never changes. */
  readonly #known = new BoundedMap<string, Descriptor | InvalidContentError>(MAX_KNOWN);
  readonly #extractions = new SingleFlight<string, Extracted>();
  readonly #workers = new KeyedMutex<number>();
  #begun = 0;

  constructor(options: GetLayerFileOptions) {
    this.#options = options;
  }

  /**
   * Delivers the first regular file of the package with the base name `name`, in any directory. Rejects with
   * InvalidContentError if there is none, or if the archive is broken or exceeds a limit, and as GetPackage does.
   */
  async execute(request: PackageRequest, name: string): Promise<DeliveredFile> {
    const { layer } = await this.#options.resolve.execute(request);
    const key = `${layer.digest} ${name}`;
    const known = this.#known.get(key);
    if (known instanceof InvalidContentError) throw known;
    const stored = known && (await this.#open(known));
    if (stored !== undefined) return stored;
    const { file, held } = await this.#extractions.run(key, () =>
      this.#workers.runExclusive(this.#begun++ % PARALLEL_EXTRACTIONS, () => this.#extract(request, name, key)),
    );
    if (held !== undefined) return { file, blob: readerOf(held), storedAt: undefined };
    const extracted = await this.#open(file);
    if (extracted === undefined) throw new StoreFullError();
    return extracted;
  }

  async #open(file: Descriptor): Promise<DeliveredFile | undefined> {
    const blob = await this.#options.store.open(file).catch(() => undefined);
    return blob && { file, blob, storedAt: blob.storedAt };
  }

  /** Reads the layer twice, because the store needs the digest of the file first. A layer of 20 MB unpacks in 0.2 s. */
  async #extract(request: PackageRequest, name: string, key: string): Promise<Extracted> {
    const { store, stopping, limits } = this.#options;
    const signal = AbortSignal.any([stopping, AbortSignal.timeout(limits.timeoutMs)]);
    const file = await this.#describe(request, name, key, signal);
    try {
      const reservation = await store.reserve(file);
      await reservation.write(this.#bytes(request, name, signal)).settled;
      return { file };
    } catch (error) {
      if (!isOneOf(error, 'STORE_FULL', 'STORE_FAILED')) throw error;
      return { file, held: await this.#held(request, name, file, signal) };
    }
  }

  async #describe(request: PackageRequest, name: string, key: string, signal: AbortSignal): Promise<Descriptor> {
    try {
      const digester = new Digester();
      for await (const chunk of this.#bytes(request, name, signal)) digester.update(chunk);
      const size = digester.bytes;
      const file = { mediaType: 'application/octet-stream', digest: digester.digest(), size };
      this.#known.set(key, file);
      return file;
    } catch (error) {
      if (error instanceof InvalidContentError) this.#known.set(key, error);
      throw error;
    }
  }

  /** Yields the bytes of the file; ends only after the whole layer is verified. */
  async *#bytes(
    request: PackageRequest,
    name: string,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const { packages, files, limits } = this.#options;
    const { blob } = await packages.execute(request, signal);
    try {
      const budget = { bytes: limits.maxUnpackedBytes };
      for await (const { kind, path, size, bytes } of files.list(readAll(blob), { budget, signal })) {
        if (kind !== 'file') continue;
        if (path !== name && !path.endsWith(`/${name}`)) continue;
        if (size > limits.maxFileBytes) {
          throw new InvalidContentError(`file "${name}" has more than ${String(limits.maxFileBytes)} bytes`);
        }
        yield* bytes;
        await blob.read(blob.size);
        return;
      }
      throw new InvalidContentError(`package holds no file "${name}"`);
    } catch (error) {
      // The layer is verified first, because a broken archive is a property of the layer only if its bytes are right.
      if (error instanceof InvalidContentError) await blob.read(blob.size);
      throw error;
    } finally {
      await blob.close();
    }
  }

  async #held(request: PackageRequest, name: string, file: Descriptor, signal: AbortSignal): Promise<Uint8Array> {
    const held = new Uint8Array(file.size);
    let at = 0;
    for await (const chunk of this.#bytes(request, name, signal)) {
      held.set(chunk, at);
      at += chunk.byteLength;
    }
    const found = digestOf(held);
    if (found !== file.digest) throw new DigestMismatchError(file.digest, found);
    return held;
  }
}

async function* readAll(blob: BlobReader): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < blob.size;) {
    const bytes = await blob.read(at);
    at += bytes.byteLength;
    yield bytes;
  }
}

function readerOf(bytes: Uint8Array): BlobReader {
  return {
    size: bytes.byteLength,
    read: (offset) => Promise.resolve(bytes.subarray(offset)),
    close: () => Promise.resolve(),
  };
}
