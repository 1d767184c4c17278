/** What a store with a budget must have at any moment, said without files, streams or promises. */
import { type Digest, digestHex } from '../../src/domain/digest.ts';
import type { TestBlob } from '../support/image.ts';

/** In place, or of the name: the file itself is then another one, or none. */
export const DAMAGES = ['flip', 'truncate', 'extend', 'delete', 'link', 'directory'] as const;
export type Damage = (typeof DAMAGES)[number];

/** One file, from its arrival until nobody reads it any more. */
export interface ModelFile {
  readonly blob: TestBlob;
  /** Bytes that the store takes it to have: those of the blob, until a start has seen others. */
  size: number;
  state: 'arriving' | 'kept' | 'gone';
  /** Its end was shown. */
  wasKept: boolean;
  readers: number;
  damage: Damage | undefined;
  /** A start has come between that must know of it: from then on no use may miss the damage. */
  mustBeFound: boolean;
}

/** Bytes of the file that damage in place leaves. */
export function sizeAfter({ blob: { descriptor }, damage }: Pick<ModelFile, 'blob' | 'damage'>): number {
  if (damage === 'truncate') return descriptor.size >> 1;
  return damage === 'extend' ? descriptor.size + 5000 : descriptor.size;
}

const BLOCK_BYTES = 4096;
const blocks = (bytes: number): number => Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES;

export class StoreModel {
  maxBytes: number;
  /** Of one digest there can be several: one kept, others arriving or still being read. */
  readonly files = new Set<ModelFile>();
  /** In the order of their use. */
  readonly kept = new Map<Digest, ModelFile>();
  /** Names of blobs that a start has found to be no files. */
  readonly strangers = new Set<Digest>();
  evicted = 0;
  damaged = 0;

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
  }

  /** Of the files, as they should be on the disk. */
  get names(): string[] {
    const named = this.kept.values().filter(({ damage }) => damage !== 'delete');
    return [...named.map(({ blob }) => digestHex(blob.descriptor.digest)), ...this.strangers.values().map(digestHex)];
  }

  get bytes(): number {
    return this.#sum(({ state, readers }) => state !== 'gone' || readers > 0);
  }

  /** A file that arrives; undefined when there can be no room. */
  begin(blob: TestBlob): ModelFile | undefined {
    const room = blocks(blob.descriptor.size);
    const immovable = this.#sum(({ state, readers }) => state === 'arriving' || readers > 0);
    if (immovable + room > this.maxBytes) return undefined;
    this.evicted += this.#evict(this.maxBytes - room);
    const size = blob.descriptor.size;
    const file: ModelFile = {
      blob,
      size,
      state: 'arriving',
      wasKept: false,
      readers: 0,
      damage: undefined,
      mustBeFound: false,
    };
    this.files.add(file);
    return file;
  }

  keep(file: ModelFile): void {
    const { digest } = file.blob.descriptor;
    const replaced = this.kept.get(digest);
    if (replaced !== undefined) this.leave(replaced);
    this.strangers.delete(digest);
    file.state = 'kept';
    file.wasKept = true;
    this.kept.set(digest, file);
  }

  leave(file: ModelFile): void {
    file.state = 'gone';
    if (this.kept.get(file.blob.descriptor.digest) === file) this.kept.delete(file.blob.descriptor.digest);
  }

  drop(file: ModelFile): void {
    if (file.state !== 'kept') return;
    this.damaged++;
    this.leave(file);
  }

  use(digest: Digest): ModelFile | undefined {
    const file = this.kept.get(digest);
    if (file === undefined) return undefined;
    this.kept.delete(digest);
    this.kept.set(digest, file);
    return file;
  }

  /** Nothing is read or arrives any more; what is kept is what files are there, in this order. */
  start(maxBytes: number, order: readonly ModelFile[], afterCrash: boolean): void {
    this.evicted = this.damaged = 0;
    this.maxBytes = maxBytes;
    this.kept.clear();
    this.files.clear();
    for (const file of order) {
      const { digest } = file.blob.descriptor;
      if (file.damage === 'link' || file.damage === 'directory') this.strangers.add(digest);
      if (file.damage === 'link' || file.damage === 'directory' || file.damage === 'delete') continue;
      file.size = sizeAfter(file);
      // Only a change that has left the length alone, and before a clean end, is for the scrub.
      if (file.damage !== undefined && (afterCrash || file.damage !== 'flip')) file.mustBeFound = true;
      file.readers = 0;
      this.files.add(file);
      this.kept.set(digest, file);
    }
    this.#evict(maxBytes);
  }

  /** A pass over all that is kept. */
  scrub(): void {
    for (const file of this.kept.values()) if (file.damage !== undefined) this.drop(file);
  }

  /** Removes the least recently used that nobody reads until so many bytes are left; says how many left. */
  #evict(maxBytes: number): number {
    let evicted = 0;
    for (const file of this.kept.values()) {
      if (this.bytes <= maxBytes) break;
      if (file.readers > 0) continue;
      this.leave(file);
      evicted++;
    }
    return evicted;
  }

  #sum(counts: (file: ModelFile) => boolean): number {
    let sum = 0;
    for (const file of this.files) if (counts(file)) sum += blocks(file.size);
    return sum;
  }
}
