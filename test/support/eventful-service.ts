/** A service with every event that its dashboard can show: it serves, fails, evicts, repairs and restarts. */
import { mkdir, mkdtemp, open, readdir, rm, stat, writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from './eventually.ts';
import { FakeKubeApi } from './fake-kube-api.ts';
import { FakeRegistry } from './fake-registry.ts';
import { makePackage, type TestImage } from './image.ts';
import { ServiceProcess, type ServiceOptions } from './service-process.ts';
import { makeKeyPair } from './signing.ts';

const MIB = 1024 * 1024;

interface Surroundings {
  readonly registry: FakeRegistry;
  readonly api: FakeKubeApi;
  readonly home: string;
  readonly options: ServiceOptions;
}

export class EventfulService {
  readonly #around: Surroundings;
  #service: ServiceProcess;
  #seed = 0;

  private constructor(around: Surroundings, service: ServiceProcess) {
    this.#around = around;
    this.#service = service;
  }

  static async start(): Promise<EventfulService> {
    const registry = await FakeRegistry.start();
    const api = await FakeKubeApi.start();
    const home = await mkdtemp(join(tmpdir(), 'eventful-'));
    await writeFile(join(home, 'kubeconfig'), api.config.exportConfig());
    await writeFile(join(home, 'cosign.pub'), makeKeyPair().pem);
    api.putModuleSource('a', { repo: `${registry.host}/a`, scheme: 'HTTP' });
    const options = {
      settings: {
        // Room for one body of half a MiB at a time, and for two downloads.
        server: { maxSocketMemory: '600Ki' },
        store: { directory: 'cache', maxSize: '4Mi' },
        registry: {
          parallelDownloads: 2,
          timeouts: { retrySeconds: 0 },
          // No process listens there.
          mirrors: [{ of: '*', endpoint: 'http://127.0.0.1:1' }],
          bucket: { endpoint: 'http://127.0.0.1:1', credentials: { directory: home } },
          // No image has a signature by this key.
          signature: { mode: 'report', keys: join(home, 'cosign.pub') },
        },
        credentials: { source: 'kubernetes' },
      },
      flags: ['--kubeconfig', join(home, 'kubeconfig')],
    };
    const service = new EventfulService({ registry, api, home, options }, await ServiceProcess.start(options));
    await service.#ready();
    return service;
  }

  get address(): string {
    return `127.0.0.1:${String(this.#service.port)}`;
  }

  /** Makes requests with all outcomes: misses, hits, evictions, bypasses, wrong bytes, broken and unknown packages, and errors. */
  async serve(): Promise<void> {
    for (let times = 0; times < 8; times++) {
      const image = this.#publish(MIB / 2);
      await this.#ask(image);
      await this.#ask(image);
    }
    await this.#ask(this.#publish(5 * MIB));
    await this.#ask(
      this.#publish(MIB / 2, (bytes, response) => {
        response.write(bytes.subarray(0, MIB / 4), () => response.destroy());
      }),
    );
    await this.#ask(this.#publish(1000, (bytes, response) => response.end(Buffer.alloc(bytes.byteLength))));
    await this.#ask(makePackage(1, 1_000_000));
    const failing = this.#publish(1000);
    this.#around.registry.failTimes(failing.digest, { status: 500 }, { status: 500 });
    await this.#ask(failing);
    await this.#ask(failing);
  }

  /**
   * Holds downloads while `meanwhile` runs: the first has two clients, one of which waits for its turn; the second loses its
   * client, and its slot goes to a waiting third download.
   */
  async hold(meanwhile: () => Promise<void>): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const held = (): TestImage =>
      this.#publish(MIB / 2, (bytes, response) => {
        response.write(bytes.subarray(0, MIB / 4));
        void promise.then(() => response.end(bytes.subarray(MIB / 4)));
      });
    const [joined, abandoned, queued] = [held(), held(), held()];
    const leaving = new AbortController();
    const clients = [this.#ask(joined), this.#ask(joined), this.#ask(abandoned, leaving.signal).catch(() => undefined)];
    await eventually(async () => {
      const text = await this.#service.client('metrics').text();
      if (!text.includes('registry_packages_proxy_downloads_in_flight 2')) throw new Error('not begun');
    });
    clients.push(this.#ask(queued));
    leaving.abort();
    await meanwhile();
    resolve(undefined);
    await Promise.all(clients);
  }

  /** Requests a package that cannot be stored, because a file replaces the directory for downloads. */
  async failToStore(): Promise<void> {
    const folder = join(this.#service.cacheDirectory, 'v1/ingest');
    await rm(folder, { recursive: true });
    await writeFile(folder, '');
    await this.#ask(this.#publish(1000));
    await rm(folder);
    await mkdir(folder, { mode: 0o700 });
  }

  /** Creates unusable objects, and breaks the connection of the API server. */
  disturbCredentials(): void {
    this.#around.api.putModuleSource('broken', { repo: 'broken.example/m', ca: 'none' });
    this.#around.api.cutWatches();
  }

  /** Stops the service, damages a cached blob and starts the service again on the same port. */
  async restart(): Promise<void> {
    const { port, cacheDirectory } = this.#service;
    await this.#service.end();
    const folder = join(cacheDirectory, 'v1/blobs/sha256');
    for (const name of await readdir(folder)) {
      if ((await stat(join(folder, name))).size < MIB / 2) continue;
      const file = await open(join(folder, name), 'r+');
      await file.write('damaged', 0);
      await file.close();
      break;
    }
    const flags = [...(this.#around.options.flags ?? []), '--listen-address', `127.0.0.1:${String(port)}`];
    this.#service = await this.#service.restart({ ...this.#around.options, flags });
    await this.#ready();
  }

  async close(): Promise<void> {
    await this.#service.close();
    await this.#around.api.close();
    await this.#around.registry.close();
    await rm(this.#around.home, { recursive: true });
  }

  #ready(): Promise<void> {
    return eventually(async () => {
      const { statusCode } = await this.#service.client('readyz');
      if (statusCode !== 200) throw new Error('not ready yet');
    });
  }

  /** Publishes a new package; `send` sends its layer once if it is given. */
  #publish(length: number, send?: (bytes: Uint8Array, response: ServerResponse) => void): TestImage {
    const image = makePackage(length, ++this.#seed);
    this.#around.registry.publish(image);
    const { bytes, descriptor } = image.layer;
    let isFirst = send !== undefined;
    this.#around.registry.script(({ url }, response) => {
      if (!isFirst || !url.endsWith(descriptor.digest)) return false;
      isFirst = false;
      send?.(bytes, response.writeHead(200, { 'content-length': bytes.byteLength }));
      return true;
    });
    return image;
  }

  async #ask({ digest }: TestImage, signal?: AbortSignal): Promise<void> {
    const searchParams = { digest, repository: `${this.#around.registry.host}/a` };
    await this.#service.client('package', { searchParams, responseType: 'buffer', ...(signal && { signal }) });
  }
}
