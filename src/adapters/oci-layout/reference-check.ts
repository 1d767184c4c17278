/** Finds blobs that an OCI image layout lists and lacks: a mirror without one layer cannot deliver the package. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Descriptor, Digest } from '../../domain/descriptor.ts';
import { PackageError } from '../../domain/errors.ts';
import { MAX_MANIFEST_BYTES, parseManifest } from '../../domain/manifest.ts';
import type { BlobFile } from '../blobs/blob-directory.ts';
import { OciLayoutGateway } from './oci-layout-gateway.ts';

interface Fault {
  readonly kind: 'missing' | 'damaged';
  /** A digest, or the path of index.json. */
  readonly what: string;
  readonly why: string;
}

/** `sound` are the verified blobs; faults of the blobs in `reported` are not repeated. */
export async function findReferenceFaults(
  directory: string,
  sound: ReadonlyMap<Digest, BlobFile>,
  reported: ReadonlySet<Digest>,
): Promise<Fault[]> {
  let listed: Digest[];
  try {
    listed = await new OciLayoutGateway(directory).list();
  } catch (error) {
    if (!(error instanceof PackageError)) throw error;
    return [{ kind: 'damaged', what: join(directory, 'index.json'), why: error.message }];
  }
  const search = new ReferenceSearch(sound, reported);
  for (const digest of listed) await search.manifest(digest, 'index.json');
  return search.faults;
}

class ReferenceSearch {
  readonly faults: Fault[] = [];
  readonly #sound: ReadonlyMap<Digest, BlobFile>;
  readonly #seen: Set<Digest>;

  constructor(sound: ReadonlyMap<Digest, BlobFile>, reported: ReadonlySet<Digest>) {
    this.#sound = sound;
    this.#seen = new Set(reported);
  }

  async manifest(digest: Digest, namedBy: string): Promise<void> {
    if (this.#isSeen(digest)) return;
    const file = this.#sound.get(digest);
    if (file === undefined) {
      this.faults.push({ kind: 'missing', what: digest, why: `manifest that ${namedBy} lists` });
      return;
    }
    try {
      if (file.stats.size > MAX_MANIFEST_BYTES) throw new Error('manifest is larger than 4 MiB');
      const content = parseManifest(await readFile(file.path));
      if (content.kind === 'index') {
        await this.#index(
          digest,
          content.manifests.map((entry) => entry.digest),
        );
        return;
      }
      if (content.config !== undefined) this.#blob(content.config, `config of ${digest}`);
      for (const layer of content.layers) this.#blob(layer, `layer of ${digest}`);
    } catch (error) {
      this.faults.push({ kind: 'damaged', what: digest, why: error instanceof Error ? error.message : 'unreadable' });
    }
  }

  /** One manifest of an index is enough, because a mirror may have only some platforms. */
  async #index(index: Digest, manifests: readonly Digest[]): Promise<void> {
    const here = manifests.filter((digest) => this.#sound.has(digest) || this.#seen.has(digest));
    for (const digest of here) await this.manifest(digest, index);
    if (here.length > 0 || manifests.length === 0) return;
    this.faults.push({
      kind: 'missing',
      what: index,
      why: `none of the ${String(manifests.length)} manifests of this index is here`,
    });
  }

  #blob({ digest, size }: Descriptor, role: string): void {
    const file = this.#sound.get(digest);
    if (file !== undefined && file.stats.size !== size) {
      // The blob matches its digest, so the manifest is wrong, and the service cannot deliver it.
      this.faults.push({ kind: 'damaged', what: digest, why: `${role}, which says ${String(size)} bytes` });
    }
    if (this.#isSeen(digest) || file !== undefined) return;
    this.faults.push({ kind: 'missing', what: digest, why: role });
  }

  #isSeen(digest: Digest): boolean {
    if (this.#seen.has(digest)) return true;
    this.#seen.add(digest);
    return false;
  }
}
