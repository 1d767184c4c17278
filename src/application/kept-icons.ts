/** Icons in memory, by the manifest of their image, and for a minute the failures of images that have none. */
import { BoundedMap } from '../domain/bounded-map.ts';
import type { Digest } from '../domain/descriptor.ts';
import type { IconFile } from './icon-of-layers.ts';

const MAX_BYTES = 16 * 1024 ** 2;
const FAILURE_MS = 60_000;
const MAX_FAILURES = 1000;

export interface Icon extends IconFile {
  /** The digest of the image that holds the icon. */
  readonly manifest: Digest;
}

export class KeptIcons {
  /** The least recently used first. */
  readonly #icons = new Map<Digest, Icon>();
  readonly #failures = new BoundedMap<Digest, { readonly failure: Error; readonly until: number }>(MAX_FAILURES);
  #bytes = 0;

  /** @throws the error with which the image has failed before. */
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
