/** The registry from which everybody has what he has not, and which says what it was asked for. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { stringify } from 'yaml';
import { freePort } from '../../test/support/peers/process.ts';
import type { BenchImage } from '../bench-image.ts';
import type { MeasuredProcess } from '../measured-process.ts';
import { firstOk } from '../probe.ts';
import type { Workspace } from '../workspace.ts';
import type { Peer } from './peer.ts';
import { fillStorage, REPOSITORY } from './registry-storage.ts';

export interface OriginRequests {
  readonly manifests: number;
  readonly blobs: number;
}

/** A response is logged when it has ended, by a pipe that we read when we have time. */
const LOG_DELAY_MS = 200;

export class Origin {
  readonly process: MeasuredProcess;
  /** `http://127.0.0.1:PORT` */
  readonly base: string;
  readonly repo: string;
  readonly #data: string;

  private constructor(process: MeasuredProcess, port: number, data: string) {
    this.process = process;
    this.base = `http://127.0.0.1:${String(port)}`;
    this.repo = `127.0.0.1:${String(port)}/${REPOSITORY}`;
    this.#data = data;
  }

  static async start(workspace: Workspace, program: string): Promise<Origin> {
    const home = await workspace.folder('origin');
    const port = await freePort();
    const data = join(home, 'data');
    await writeFile(join(home, 'config.yml'), registryConfiguration(port, data, { accessLog: true }));
    const process = workspace.spawn(program, ['serve', join(home, 'config.yml')], { keepsOutput: true });
    const origin = new Origin(process, port, data);
    await firstOk(`${origin.base}/v2/`, process);
    return origin;
  }

  async publish(images: readonly BenchImage[]): Promise<void> {
    await fillStorage(this.#data, images);
  }

  /** For clients that ask it directly. */
  get peer(): Peer {
    return { name: 'origin', process: this.process, url: (image) => blobUrl(this.base, image) };
  }

  /** The number of requests for the manifest of this image, and for its layer. */
  async requestsFor({ manifest, layer }: BenchImage): Promise<OriginRequests> {
    await sleep(LOG_DELAY_MS);
    const count = (kind: string, hex: string): number =>
      [...this.process.output.matchAll(new RegExp(`"(?:GET|HEAD) \\S+/${kind}/sha256:${hex} `, 'g'))].length;
    return { manifests: count('manifests', manifest.hex), blobs: count('blobs', layer.hex) };
  }
}

export function blobUrl(base: string, { layer }: BenchImage): string {
  return `${base}/v2/${REPOSITORY}/blobs/sha256:${layer.hex}`;
}

export function registryConfiguration(
  port: number,
  data: string,
  { accessLog, upstream }: { readonly accessLog: boolean; readonly upstream?: string },
): string {
  return stringify({
    version: 0.1,
    log: { level: accessLog ? 'info' : 'error', accesslog: { disabled: !accessLog } },
    storage: { filesystem: { rootdirectory: data }, cache: { blobdescriptor: 'inmemory' } },
    http: { addr: `127.0.0.1:${String(port)}`, secret: 'of a benchmark' },
    ...(upstream !== undefined && { proxy: { remoteurl: upstream } }),
  });
}
