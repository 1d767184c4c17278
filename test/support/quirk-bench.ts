/** One service before many registries with different quirks. */
import { expect } from 'chai';
import type { ServerResponse } from 'node:http';
import { FakeRegistry, type FakeRegistryOptions, type LoggedRequest, PASSWORD, USERNAME } from './fake-registry.ts';
import { makePackage, type TestBlob, type TestImage } from './image.ts';
import { ServiceProcess } from './service-process.ts';
import { CA } from './tls/certificates.ts';

export interface QuirkOptions extends FakeRegistryOptions {
  /** The password in the settings of the service; by default PASSWORD if the registry requires one. */
  readonly password?: string;
}

/** Answers a request for a blob, or returns false to let the registry answer. */
export type Answer = (response: ServerResponse, blob: TestBlob, request: LoggedRequest) => boolean;

/** Each test gets a different image, because the service would deliver the same one from its cache. */
let nextSeed = 1000;

export class QuirkBench {
  readonly registry: FakeRegistry;
  readonly #service: ServiceProcess;

  constructor(registry: FakeRegistry, service: ServiceProcess) {
    this.registry = registry;
    this.#service = service;
  }

  /** Publishes a package in the registry with a special answer for its layer. */
  publish(answer: Answer = () => false, image: TestImage = makePackage(300_000, nextSeed++)): TestImage {
    this.registry.publish(image);
    this.answer(image.layer, answer);
    return image;
  }

  /** Sets a special answer for a manifest or a blob. */
  answer(blob: TestBlob, answer: Answer): void {
    this.registry.script(
      (request, response) => request.url.includes(blob.descriptor.digest) && answer(response, blob, request),
    );
  }

  async expectPackage(image: TestImage, digest: string = image.digest): Promise<void> {
    const { statusCode, body } = await this.#get(digest);
    const why = statusCode === 200 ? '' : JSON.stringify((await this.#logged(digest))['err']);
    expect(statusCode, why).to.equal(200);
    expect(Buffer.compare(body, image.layer.bytes)).to.equal(0);
  }

  /** Expects that the service refuses a package, and that its log has the cause. */
  async expectRefusal(digest: string, status: number, cause: RegExp): Promise<void> {
    const { statusCode } = await this.#get(digest);
    expect(JSON.stringify((await this.#logged(digest))['err'])).to.match(cause);
    expect(statusCode).to.equal(status);
  }

  async #get(digest: string): Promise<{ statusCode: number; body: Uint8Array }> {
    const searchParams = { digest, repository: this.#repository };
    return await this.#service.client('package', { responseType: 'buffer', searchParams });
  }

  #logged(digest: string): Promise<Record<string, unknown>> {
    return this.#service.logged('request', { digest, repository: this.#repository });
  }

  get #repository(): string {
    return `${this.registry.host}/deckhouse/ee`;
  }
}

/** Starts the service of a suite; returns a function that makes a test with a registry with these options. */
export function quirkBench(): (test: (bench: QuirkBench) => Promise<void>, options?: QuirkOptions) => Mocha.AsyncFunc {
  const all: QuirkOptions[] = [];
  let registries: FakeRegistry[] = [];
  let service: ServiceProcess | undefined;
  before(async () => {
    registries = await Promise.all(all.map((options) => FakeRegistry.start(options)));
    const entries = registries.map((registry, index) => settingsOf(registry, all[index] ?? {}));
    const registry = { timeouts: { idleSeconds: 2 } };
    service = await ServiceProcess.start({ settings: { registry, credentials: { registries: entries } } });
  });
  after(async () => {
    await service?.close();
    for (const registry of registries) await registry.close();
  });
  return (test, options = {}) => {
    const index = all.push(options) - 1;
    return async () => {
      const registry = registries[index];
      if (registry === undefined || service === undefined) throw new Error('the bench has not started');
      await test(new QuirkBench(registry, service));
    };
  };
}

function settingsOf(registry: FakeRegistry, { tls, auth, password }: QuirkOptions): object {
  const login = password ?? (auth === undefined || auth === 'anonymous' ? undefined : PASSWORD);
  return {
    repo: `${registry.host}/deckhouse/ee`,
    scheme: tls === undefined ? 'HTTP' : 'HTTPS',
    ...(tls !== undefined && { ca: CA }),
    ...(login !== undefined && { username: USERNAME, password: login }),
  };
}
