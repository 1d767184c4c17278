/** The blobs that a store with a budget must have at any moment, without files, streams or promises. */
import { type Digest, digestHex } from '../../src/domain/descriptor.ts';
import type { TestBlob } from '../support/image.ts';

/** In place, or of the name: the file itself is then another one, or none. */
export const DAMAGES = ['flip', 'truncate', 'extend', 'delete', 'link', 'directory'] as const;
export type Damage = (typeof DAMAGES)[number];

/** One file, from its arrival until its last reader leaves. */
export interface ModelFile {
  readonly blob: TestBlob;
  /** Bytes that the store takes it to have: those of the blob, until a start has seen others. */
  size: number;
  state: 'arriving' | 'kept' | 'gone';
  /** Bytes of the volume that it takes: as many as have arrived. */
  room: number;
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
/** The tries of one write on a full volume. */
const MAX_TRIES = 4;
const holdsRoom = ({ state, readers }: ModelFile): boolean => state !== 'gone' || readers > 0;
const blocks = (bytes: number): number => Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES;

export class StoreModel {
  maxBytes: number;
  /** The effective budget of the store: less than the setting when the volume was full before. */
  limit: number;
  /** Bytes that the volume has for files of the store; undefined when there are enough. */
  capacity: number | undefined;
  /** There can be several of one digest: one cached, others arriving or still being read. */
  readonly files = new Set<ModelFile>();
  /** In the order of their use. */
  readonly kept = new Map<Digest, ModelFile>();
  /** Names of blobs that a start has found to be no files. */
  readonly strangers = new Set<Digest>();
  evicted = 0;
  damaged = 0;

  constructor(maxBytes: number) {
    this.maxBytes = this.limit = maxBytes;
  }

  /** The names of the files, as they should be on the disk. */
  get names(): string[] {
    const named = this.kept.values().filter(({ damage }) => damage !== 'delete');
    return [...named.map(({ blob }) => digestHex(blob.descriptor.digest)), ...this.strangers.values().map(digestHex)];
  }

  get bytes(): number {
    return this.#sum(holdsRoom, ({ room }) => room);
  }

  /** A file that arrives; undefined when there can be no room. */
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

  /** The first `end` bytes of a file arrive, the last of them by one write; false when there is no room for it. */
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

  /** Nothing is read or arrives any more; what is kept is what files are there, in this order. */
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
      // Only a change that has left the length alone, and before a clean end, is for the scrub.
      if (file.damage !== undefined && (afterCrash || file.damage !== 'flip')) file.mustBeFound = true;
      file.state = 'kept';
      file.room = blocks(file.size);
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

  /** Removes the least recently used without readers until so many bytes are left; returns how many left. */
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
