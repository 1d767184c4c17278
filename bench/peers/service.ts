/** Ours: the service with a cache directory that was filled before it starts. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { freePort } from '../../test/support/peers/process.ts';
import { type BenchImage, place } from '../bench-image.ts';
import type { MeasuredProcess } from '../measured-process.ts';
import { firstOk } from '../probe.ts';
import type { Workspace } from '../workspace.ts';
import type { Origin } from './origin.ts';
import type { Peer, PeerOptions } from './peer.ts';

/** Fits all that a scenario puts into it: what a small cache costs is no question of these figures. */
const CACHE_SIZE = '64Gi';

export interface StartedService {
  readonly peer: Peer;
  readonly firstOkMs: number;
}

/** A home of the service, in which it can be started again and again. */
export class ServiceHome {
  readonly #workspace: Workspace;
  readonly #main: string;
  readonly #origin: Origin | undefined;
  readonly #directory: string;

  private constructor(workspace: Workspace, main: string, origin: Origin | undefined, directory: string) {
    this.#workspace = workspace;
    this.#main = main;
    this.#origin = origin;
    this.#directory = directory;
  }

  static async create(workspace: Workspace, main: string, origin?: Origin): Promise<ServiceHome> {
    return new ServiceHome(workspace, main, origin, await workspace.folder('service'));
  }

  /** Manifest and layer, as the service itself would have kept them. */
  async fill(images: readonly BenchImage[]): Promise<void> {
    for (const { manifest, layer } of images) {
      for (const blob of [manifest, layer]) await place(blob, join(this.#directory, 'cache/v1/blobs/sha256', blob.hex));
    }
  }

  /** After a clean stop; the first answer waited for is that of `/healthz`, or of a package. */
  async start(awaited?: BenchImage): Promise<StartedService> {
    const port = await freePort();
    await writeFile(join(this.#directory, 'settings.yaml'), stringify(this.#settings(port)));
    await this.#markClean();
    const began = performance.now();
    const process_ = this.#spawn();
    const base = `http://127.0.0.1:${String(port)}`;
    const url = ({ hex }: BenchImage): string => `${base}/package?digest=sha256:${hex}`;
    const firstOkMs = (await firstOk(awaited === undefined ? `${base}/healthz` : url(awaited), process_)) - began;
    return { peer: { name: 'ours', process: process_, url }, firstOkMs };
  }

  #spawn(): MeasuredProcess {
    return this.#workspace.spawn(process.execPath, [this.#main, '--config', join(this.#directory, 'settings.yaml')]);
  }

  async #markClean(): Promise<void> {
    const marker = join(this.#directory, 'cache/v1/clean');
    // Without a directory there is nothing to be clean.
    await writeFile(marker, '').catch(() => undefined);
  }

  #settings(port: number): object {
    const repo = this.#origin?.repo ?? 'registry.invalid/packages';
    return {
      // As many clients at a time as a scenario has: it measures sending, not waiting.
      server: { listenAddress: `127.0.0.1:${String(port)}`, maxSocketMemory: '16Gi' },
      store: { directory: 'cache', maxSize: CACHE_SIZE },
      credentials: { registries: [{ repo, default: true, scheme: 'HTTP' }] },
      log: { level: 'warn' },
    };
  }
}

export async function startService(main: string, { workspace, cached = [], origin }: PeerOptions): Promise<Peer> {
  const home = await ServiceHome.create(workspace, main, origin);
  await home.fill(cached);
  const { peer } = await home.start();
  return peer;
}
