/** The service of this project, with a cache directory that is filled before the start. */
import { writeFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { digestHex } from '../../src/domain/descriptor.ts';
import { makeBlob } from '../../test/support/image.ts';
import { freePort } from '../../test/support/peers/process.ts';
import { type BenchImage, type BlobFile, place } from '../bench-image.ts';
import type { MeasuredProcess } from '../measured-process.ts';
import { firstOk } from '../probe.ts';
import type { Workspace } from '../workspace.ts';
import type { Peer, PeerOptions } from './peer.ts';

/** Large enough for each scenario, because these figures do not measure a small cache. */
const CACHE_SIZE = '64Gi';

export interface ServiceSettings extends Partial<Pick<PeerOptions, 'origin' | 'maxSocketMemory'>> {
  readonly cacheSize?: string;
  /** Replaces the repository of `origin`. */
  readonly repo?: string;
  /** The settings below `registry`. */
  readonly registry?: object;
  /** The settings below `credentials`; the registry of the bench by default. */
  readonly credentials?: object;
}

export interface StartedService {
  readonly peer: Peer;
  /** `http://127.0.0.1:PORT` */
  readonly base: string;
  readonly firstOkMs: number;
}

/** The directory of a service, in which it can start several times. */
export class ServiceHome {
  readonly #workspace: Workspace;
  readonly #main: string;
  readonly #settings: ServiceSettings;
  readonly #directory: string;
  readonly #blobs = new Map<string, BlobFile>();

  private constructor(workspace: Workspace, main: string, settings: ServiceSettings, directory: string) {
    this.#workspace = workspace;
    this.#main = main;
    this.#settings = settings;
    this.#directory = directory;
  }

  static async create(workspace: Workspace, main: string, settings: ServiceSettings = {}): Promise<ServiceHome> {
    return new ServiceHome(workspace, main, settings, await workspace.folder('service'));
  }

  /** Stores manifests and layers as the service would. */
  async fill(images: readonly BenchImage[]): Promise<void> {
    for (const { manifest, layer } of images) {
      for (const blob of [manifest, layer]) {
        await place(blob, join(this.#directory, 'cache/v1/blobs/sha256', blob.hex));
        this.#blobs.set(blob.hex, blob);
      }
    }
  }

  /** Stores small blobs that belong to no image. */
  async fillBlobs(count: number): Promise<void> {
    const folder = join(this.#directory, 'cache/v1/blobs/sha256');
    await mkdir(folder, { recursive: true });
    for (let index = 0; index < count; index++) {
      const { descriptor, bytes } = makeBlob('', new TextEncoder().encode(String(index)));
      const hex = digestHex(descriptor.digest);
      const path = join(folder, hex);
      writeFileSync(path, bytes);
      this.#blobs.set(hex, { hex, size: bytes.byteLength, mediaType: '', path });
    }
  }

  /** Starts the service as after a clean stop, and waits for the first answer of `/healthz` or of a package. */
  async start(awaited?: BenchImage): Promise<StartedService> {
    const port = await freePort();
    await writeFile(join(this.#directory, 'settings.yaml'), stringify(this.#settingsFor(port)));
    await this.#markClean();
    const began = performance.now();
    const process_ = this.#spawn();
    const base = `http://127.0.0.1:${String(port)}`;
    const url = ({ hex }: BenchImage): string => `${base}/package?digest=sha256:${hex}`;
    const firstOkMs = (await firstOk(awaited === undefined ? `${base}/healthz` : url(awaited), process_)) - began;
    return { peer: { name: 'ours', process: process_, url }, base, firstOkMs };
  }

  #spawn(): MeasuredProcess {
    return this.#workspace.spawn(process.execPath, [this.#main, '--config', join(this.#directory, 'settings.yaml')]);
  }

  /** Writes the marker of a clean stop, which lists all blobs as verified, so that the first request does not hash its blob. */
  async #markClean(): Promise<void> {
    const now = String(Date.now());
    const lines = [...this.#blobs.values()].map(
      ({ hex, size }) => `sha256:${hex} ${String(size)} ${now}
`,
    );
    if (lines.length > 0) await writeFile(join(this.#directory, 'cache/v1/clean'), lines.join(''));
  }

  #settingsFor(port: number): object {
    const { origin, maxSocketMemory = '16Gi', cacheSize = CACHE_SIZE } = this.#settings;
    const repo = this.#settings.repo ?? origin?.repo ?? 'registry.invalid/packages';
    return {
      // Enough places for all clients, because the scenarios measure sending, not waiting.
      server: { listenAddress: `127.0.0.1:${String(port)}`, maxSocketMemory },
      store: { directory: 'cache', maxSize: cacheSize },
      ...(this.#settings.registry !== undefined && { registry: this.#settings.registry }),
      credentials: this.#settings.credentials ?? { registries: [{ repo, default: true, scheme: 'HTTP' }] },
      log: { level: 'warn' },
    };
  }
}

export async function startService(main: string, { workspace, cached = [], ...settings }: PeerOptions): Promise<Peer> {
  const home = await ServiceHome.create(workspace, main, settings);
  await home.fill(cached);
  const { peer } = await home.start();
  return peer;
}
