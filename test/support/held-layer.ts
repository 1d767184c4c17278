/** A layer of which the test decides how many bytes arrive. */
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import type { FakeRegistry } from './fake-registry.ts';
import type { TestImage } from './image.ts';

export class HeldLayer {
  readonly #bytes: Uint8Array;
  readonly #asked = Promise.withResolvers<ServerResponse>();
  #sent = 0;

  /** The layer of an image that the registry has; it is requested once. */
  constructor(registry: FakeRegistry, { layer }: TestImage) {
    this.#bytes = layer.bytes;
    registry.script(({ url }, response) => {
      if (!url.endsWith(`/blobs/${layer.descriptor.digest}`)) return false;
      response.writeHead(200, { 'content-length': layer.bytes.byteLength });
      response.flushHeaders();
      this.#asked.resolve(response);
      return true;
    });
  }

  /** Resolves when the system has accepted this share of the layer, from 0 to 1. */
  async sendUpTo(share: number): Promise<void> {
    const response = await this.#asked.promise;
    const end = Math.floor(this.#bytes.byteLength * share);
    const part = this.#bytes.subarray(this.#sent, end);
    this.#sent = end;
    if (share === 1) response.end(part);
    else if (!response.write(part)) await once(response, 'drain');
  }
}
