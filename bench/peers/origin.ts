/** The registry behind all peers, which counts the requests for each image. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { stringify } from 'yaml';
import { freePort } from '../../test/support/peers/process.ts';
import type { BenchImage } from '../bench-image.ts';
import type { MeasuredProcess } from '../measured-process.ts';
import { firstOk } from '../probe.ts';
import type { Workspace } from '../workspace.ts';
import type { Peer, Upstream } from './peer.ts';
import { fillStorage, REPOSITORY } from './registry-storage.ts';

export interface OriginCertificate {
  readonly cert: string;
  readonly key: string;
  /** The CA of the certificate. */
  readonly ca: string;
}

export interface OriginRequests {
  readonly manifests: number;
  readonly blobs: number;
}

/** The registry logs a response after its end, and the bench may read the pipe later. */
const LOG_DELAY_MS = 200;

export class Origin implements Upstream {
  readonly process: MeasuredProcess;
  readonly host: string;
  /** `http://127.0.0.1:PORT`, or `https://localhost:PORT` */
  readonly base: string;
  readonly repo: string;
  readonly #data: string;

  private constructor(process: MeasuredProcess, scheme: 'http' | 'https', port: number, data: string) {
    this.process = process;
    this.host = `${scheme === 'http' ? '127.0.0.1' : 'localhost'}:${String(port)}`;
    this.base = `${scheme}://${this.host}`;
    this.repo = `${this.host}/${REPOSITORY}`;
    this.#data = data;
  }

  /** Starts the registry; with `tls` it serves HTTPS with this certificate for `localhost`. */
  static async start(workspace: Workspace, program: string, tls?: OriginCertificate): Promise<Origin> {
    const home = await workspace.folder('origin');
    const port = await freePort();
    const data = join(home, 'data');
    const files = tls && { certificate: join(home, 'cert'), key: join(home, 'key') };
    if (files !== undefined) {
      await writeFile(files.certificate, tls?.cert ?? '');
      await writeFile(files.key, tls?.key ?? '');
    }
    await writeFile(join(home, 'config.yml'), registryConfiguration(port, data, { accessLog: true, tls: files }));
    const process = workspace.spawn(program, ['serve', join(home, 'config.yml')], { keepsOutput: true });
    const origin = new Origin(process, tls === undefined ? 'http' : 'https', port, data);
    await firstOk(`${origin.base}/v2/`, process, tls?.ca);
    return origin;
  }

  async publish(images: readonly BenchImage[], repository = REPOSITORY): Promise<void> {
    await fillStorage(this.#data, images, repository);
  }

  /** The registry as a peer, for clients that use it directly. */
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

export interface RegistryOptions {
  readonly accessLog: boolean;
  /** The registry whose content this one caches. */
  readonly upstream?: string;
  /** The paths of PEM files. */
  readonly tls?: { readonly certificate: string; readonly key: string } | undefined;
}

export function registryConfiguration(
  port: number,
  data: string,
  { accessLog, upstream, tls }: RegistryOptions,
): string {
  return stringify({
    version: 0.1,
    log: { level: accessLog ? 'info' : 'error', accesslog: { disabled: !accessLog } },
    storage: { filesystem: { rootdirectory: data }, cache: { blobdescriptor: 'inmemory' } },
    http: { addr: `127.0.0.1:${String(port)}`, secret: 'of a benchmark', ...(tls && { tls }) },
    ...(upstream !== undefined && { proxy: { remoteurl: upstream } }),
  });
}
