/** A model of the store: the blobs that it must have at each moment, without files, streams or promises. */
import { type Digest, digestHex } from '../../src/domain/descriptor.ts';
import type { TestBlob } from '../support/image.ts';

/** Damages of the bytes of a file, and of its name, which then has another file or none. */
export const DAMAGES = ['flip', 'truncate', 'extend', 'delete', 'link', 'directory'] as const;
export type Damage = (typeof DAMAGES)[number];

/** One file, from its arrival until its last reader leaves. */
export interface ModelFile {
  readonly blob: TestBlob;
  /** Bytes of the file by the count of the store: those of the blob until a start reads another length. */
  size: number;
  state: 'arriving' | 'kept' | 'gone';
  /** Bytes that the file uses on the volume: those that have arrived. */
  room: number;
  /** Readers could read the whole blob. */
  wasKept: boolean;
  readers: number;
  damage: Damage | undefined;
  /** A start has read the damaged file: each later use must find the damage. */
  mustBeFound: boolean;
}

/** The size of a file after damage in place. */
export function sizeAfter({ blob: { descriptor }, damage }: Pick<ModelFile, 'blob' | 'damage'>): number {
  if (damage === 'truncate') return descriptor.size >> 1;
  return damage === 'extend' ? descriptor.size + 5000 : descriptor.size;
}

const BLOCK_BYTES = 4096;
/** The attempts of one write on a full volume. */
const MAX_TRIES = 4;
const holdsRoom = ({ state, readers }: ModelFile): boolean => state !== 'gone' || readers > 0;
const blocks = (bytes: number): number => Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES;

export class StoreModel {
  maxBytes: number;
  /** The effective budget of the store: below the setting after the volume was full. */
  limit: number;
  /** Bytes that the volume has for files of the store; undefined for no limit. */
  capacity: number | undefined;
  /** Several files can have the same digest: one cached, others arriving or open for readers. */
  readonly files = new Set<ModelFile>();
  /** The cached files, the least recently used first. */
  readonly kept = new Map<Digest, ModelFile>();
  /** Names of blobs that a start found as something other than a file. */
  readonly strangers = new Set<Digest>();
  evicted = 0;
  damaged = 0;

  constructor(maxBytes: number) {
    this.maxBytes = this.limit = maxBytes;
  }

  /** The names that the files must have on the disk. */
  get names(): string[] {
    const named = this.kept.values().filter(({ damage }) => damage !== 'delete');
    return [...named.map(({ blob }) => digestHex(blob.descriptor.digest)), ...this.strangers.values().map(digestHex)];
  }

  get bytes(): number {
    return this.#sum(holdsRoom, ({ room }) => room);
  }

  /** Begins a download; undefined if it cannot have room. */
  begin(blob: TestBlob): ModelFile | undefined {
    const size = blob.descriptor.size;
    const onVolume = Math.max(this.bytes, this.capacity ?? Infinity);
    if (this.limit < this.maxBytes) this.limit = Math.min(this.maxBytes, onVolume);
    if (size > onVolume) return undefined;
    const immovable = this.#sum(
      ({ state, readers }) => state === 'arriving' || readers > 0,
      (file) => blocks(file.size),
    );
    if (immovable + blocks(size) > this.limit) return undefined;
    const file: ModelFile = {
      blob,
      size,
      state: 'arriving',
      room: 0,
      wasKept: false,
      readers: 0,
      damage: undefined,
      mustBeFound: false,
    };
    this.files.add(file);
    return file;
  }

  /** Writes a file up to `end` with a last write of `length` bytes; false without room for it. */
  grow(file: ModelFile, end: number, length: number): boolean {
    const more = Math.max(0, blocks(end) - file.room);
    this.#evict(this.limit - more);
    if (this.bytes + more > this.limit) return false;
    file.room += more;
    for (let tries = 1; this.bytes > (this.capacity ?? Infinity); tries++) {
      const onDisk = this.bytes - blocks(length);
      const evicted = this.#evict(onDisk);
      this.limit = Math.max(0, Math.min(this.maxBytes, Math.max(this.bytes, onDisk)));
      if (evicted === 0 || tries === MAX_TRIES) return false;
    }
    return true;
  }

  keep(file: ModelFile): void {
    const { digest } = file.blob.descriptor;
    const replaced = this.kept.get(digest);
    if (replaced !== undefined) this.leave(replaced);
    this.strangers.delete(digest);
    file.state = 'kept';
    file.room = blocks(file.size);
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

  /** Ends all readers and downloads; the cached blobs are then the files of the disk, in this order. */
  start(maxBytes: number, order: readonly ModelFile[], afterCrash: boolean): void {
    this.evicted = this.damaged = 0;
    this.maxBytes = this.limit = maxBytes;
    this.capacity = undefined;
    this.kept.clear();
    this.files.clear();
    for (const file of order) {
      const { digest } = file.blob.descriptor;
      if (file.damage === 'link' || file.damage === 'directory') this.strangers.add(digest);
      if (file.damage === 'link' || file.damage === 'directory' || file.damage === 'delete') continue;
      file.size = sizeAfter(file);
      // After a clean end a start trusts files of the right length, so a flipped bit is left to the scrub.
      if (file.damage !== undefined && (afterCrash || file.damage !== 'flip')) file.mustBeFound = true;
      file.state = 'kept';
      file.room = blocks(file.size);
      file.readers = 0;
      this.files.add(file);
      this.kept.set(digest, file);
    }
    this.#evict(maxBytes);
  }

  /** A pass of the scrub over all cached files. */
  scrub(): void {
    for (const file of this.kept.values()) if (file.damage !== undefined) this.drop(file);
  }

  /** Evicts the least recently used files without readers down to `maxBytes`; returns the number of evicted files. */
  #evict(maxBytes: number): number {
    let evicted = 0;
    for (const file of this.kept.values()) {
      if (this.bytes <= maxBytes) break;
      if (file.readers > 0) continue;
      this.leave(file);
      evicted++;
    }
    this.evicted += evicted;
    return evicted;
  }

  #sum(counts: (file: ModelFile) => boolean, bytesOf: (file: ModelFile) => number): number {
    return this.files.values().reduce((sum, file) => sum + (counts(file) ? bytesOf(file) : 0), 0);
  }
}
