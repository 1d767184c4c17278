/** Icons in memory by the manifest of their image, the image of each request for a minute, and images without an icon. */
import { BoundedMap } from '../domain/bounded-map.ts';
import type { Digest } from '../domain/descriptor.ts';
import type { Registry } from '../domain/upstream.ts';
import type { IconFile } from './icon-of-layers.ts';

const MAX_BYTES = 16 * 1024 ** 2;
const FAILURE_MS = 60_000;
/** A fifth of the time for which clients cache the icon of a latest version. */
const REQUEST_MS = 60_000;
const MAX_REQUESTS = 5000;
const MAX_FAILURES = 1000;

export interface Icon extends IconFile {
  /** The digest of the image with the icon. */
  readonly manifest: Digest;
}

export class KeptIcons {
  /** The least recently used first. */
  readonly #icons = new Map<Digest, Icon>();
  readonly #failures = new BoundedMap<Digest, { readonly failure: Error; readonly until: number }>(MAX_FAILURES);
  /** The registry is held weakly, so that a replaced credential is not kept in memory. */
  readonly #requests = new BoundedMap<
    string,
    { readonly registry: WeakRef<Registry>; readonly manifest: Digest; readonly until: number }
  >(MAX_REQUESTS);
  #bytes = 0;

  /** The icon of the same request to this registry within the last minute. @throws as `find` */
  recall(request: string, registry: Registry): Icon | undefined {
    const led = this.#requests.get(request);
    const isCurrent = led !== undefined && performance.now() < led.until && led.registry.deref() === registry;
    return isCurrent ? this.find(led.manifest) : undefined;
  }

  remember(request: string, registry: Registry, manifest: Digest): void {
    const until = performance.now() + REQUEST_MS;
    this.#requests.set(request, { registry: new WeakRef(registry), manifest, until });
  }

  /** @throws the remembered error of the image */
  find(manifest: Digest): Icon | undefined {
    const failed = this.#failures.get(manifest);
    if (failed !== undefined && performance.now() < failed.until) throw failed.failure;
    const icon = this.#icons.get(manifest);
    if (icon !== undefined) {
      this.#icons.delete(manifest);
      this.#icons.set(manifest, icon);
    }
    return icon;
  }

  keep(icon: Icon): void {
    this.#icons.set(icon.manifest, icon);
    this.#bytes += icon.bytes.byteLength;
    for (const [manifest, { bytes }] of this.#icons) {
      if (this.#bytes <= MAX_BYTES) return;
      this.#icons.delete(manifest);
      this.#bytes -= bytes.byteLength;
    }
  }

  keepFailure(manifest: Digest, failure: Error): void {
    this.#failures.set(manifest, { failure, until: performance.now() + FAILURE_MS });
  }
}
