/** The real store in a directory of its own, with its readers and downloads. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { FileReading } from '../../src/adapters/filesystem/file-reading.ts';
import { FilesystemPackageStore } from '../../src/adapters/filesystem/filesystem-package-store.ts';
import type { BlobReader } from '../../src/domain/ports/package-store.ts';
import { eventually } from '../support/eventually.ts';
import { limitDisk } from '../support/full-disk.ts';
import type { Fill } from './fill.ts';
import { StoreDisk } from './store-disk.ts';
import type { Damage, ModelFile } from './store-model.ts';

export interface Reader {
  readonly file: ModelFile;
  readonly blob: BlobReader;
  /** The download that the reader follows. */
  readonly fill: Fill | undefined;
  offset: number;
}

const IS_SLOW = Object.getOwnPropertyDescriptor(FileReading.prototype, 'isSlow') ?? {};

export class RealStore {
  readonly #place: string;
  #disk: StoreDisk;
  #store: FilesystemPackageStore;
  readers: Reader[] = [];
  fills: Fill[] = [];
  /** Bytes that the volume has for the store; undefined for no limit. */
  capacity: number | undefined;
  readonly #unlimit: () => void;

  private constructor(place: string, maxBytes: number) {
    this.#place = place;
    // The model has no clock, so no reader may count as slow and lose its blob on a busy machine.
    Object.defineProperty(FileReading.prototype, 'isSlow', { ...IS_SLOW, get: () => false });
    this.#disk = new StoreDisk(join(place, '1'));
    this.#store = new FilesystemPackageStore({ directory: this.#disk.directory, maxBytes });
    this.#unlimit = limitDisk(place, {
      fits: () => this.#store.usage.bytes <= (this.capacity ?? Infinity),
      free: () => Math.max(0, (this.capacity ?? Infinity) - this.#store.usage.bytes),
    });
  }

  static async start(below: string, maxBytes: number): Promise<RealStore> {
    const real = new RealStore(mkdtempSync(join(below, 'store-model-')), maxBytes);
    await real.store.load();
    return real;
  }

  get store(): FilesystemPackageStore {
    return this.#store;
  }

  get names(): string[] {
    return this.#disk.names;
  }

  get bytesOnDisk(): number {
    return this.#disk.bytes;
  }

  inodeOf(file: ModelFile): number | undefined {
    return this.#disk.inodeOf(file);
  }

  harm(file: ModelFile, damage: Damage): void {
    this.#disk.harm(file, damage);
  }

  async restart(maxBytes: number, scrubBytesPerSecond: number): Promise<void> {
    await this.#end();
    this.capacity = undefined;
    await this.#load(maxBytes, scrubBytesPerSecond);
  }

  /** Copies the current state of the disk for a start after a crash. */
  snapshot(): StoreDisk {
    return this.#disk.copy(join(this.#place, String(readdirSync(this.#place).length + 1)));
  }

  async crash(snapshot: StoreDisk, maxBytes: number): Promise<void> {
    // The old store continues in a directory that the test does not read again.
    await this.#end();
    this.capacity = undefined;
    this.#disk = snapshot;
    await this.#load(maxBytes, 0);
  }

  /** Waits for a pass of the scrub over `bytes` bytes that finds `damaged` damaged files. */
  async scrubbed(bytes: number, damaged: number): Promise<void> {
    await eventually(async () => {
      const { usage } = this.#store;
      if (usage.scrubbedBytes < bytes || usage.damaged < damaged) throw new Error('the scrub has not come round');
    });
  }

  async dispose(): Promise<void> {
    await this.#end().catch(() => undefined);
    this.#unlimit();
    Object.defineProperty(FileReading.prototype, 'isSlow', IS_SLOW);
    rmSync(this.#place, { recursive: true });
  }

  async #load(maxBytes: number, scrubBytesPerSecond: number): Promise<void> {
    this.#store = new FilesystemPackageStore({ directory: this.#disk.directory, maxBytes, scrubBytesPerSecond });
    await this.#store.load();
  }

  async #end(): Promise<void> {
    await Promise.all(this.fills.map((fill) => fill.stop()));
    await Promise.all(this.readers.map(({ blob }) => blob.close()));
    this.fills = [];
    this.readers = [];
    await this.#store.close();
  }
}
