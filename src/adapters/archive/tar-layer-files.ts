/** Reads the files of a layer from its tar. */
import { InvalidContentError } from '../../domain/errors.ts';
import type { LayerEntry, LayerFiles, LayerLimits } from '../../domain/ports/layer-files.ts';
import {
  BLOCK,
  type Extension,
  isExtending,
  MAX_EXTENSION_BYTES,
  parseExtension,
  parseHeader,
  type TarHeader,
} from '../../domain/tar-header.ts';
import { unpacked } from './unpacked.ts';

export class TarLayerFiles implements LayerFiles {
  async *list(layer: AsyncIterable<Uint8Array>, limits: LayerLimits): AsyncGenerator<LayerEntry, void, undefined> {
    const archive = new Archive(bounded(unpacked(layer, limits.signal), limits));
    try {
      let extension: Extension = {};
      for (
        let header = await archive.header(extension);
        header !== undefined;
        header = await archive.header(extension)
      ) {
        const { kind, name, size } = header;
        if (isExtending(kind)) {
          if (size > MAX_EXTENSION_BYTES) throw new InvalidContentError('layer has a header of more than 1 MiB');
          extension = parseExtension(kind, await archive.take(size), extension);
        } else {
          extension = {};
          const path = name.replace(/^(?:\.?\/)+/, '').replace(/\/+$/, '');
          yield { kind, path, size, bytes: archive.content() };
        }
      }
    } finally {
      await archive.close();
    }
  }
}

/** Reads the blocks of a tar in order. */
class Archive {
  readonly #chunks: AsyncIterator<Uint8Array>;
  /** Received bytes that are not read yet. */
  #rest: Uint8Array = new Uint8Array(0);
  /** The unread bytes of the present entry; `#padding` are the bytes after them up to the next block. */
  #left = 0;
  #padding = 0;

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** Resolves with the header after the present entry; undefined at the end of the archive, which is a block of zeros. */
  async header(extension: Extension): Promise<TarHeader | undefined> {
    if ((await this.#skip(this.#left)) > 0) throw new InvalidContentError('layer ends in the middle of a file');
    await this.#skip(this.#padding);
    const block = await this.#upTo(BLOCK);
    if (block.every((byte) => byte === 0)) return undefined;
    if (block.byteLength < BLOCK) throw new InvalidContentError('layer is not a tar archive');
    const header = parseHeader(block, extension);
    this.#left = header.size;
    this.#padding = (BLOCK - (header.size % BLOCK)) % BLOCK;
    return header;
  }

  /** Yields the unread content of the present entry. */
  async *content(): AsyncGenerator<Uint8Array, void, undefined> {
    while (this.#left > 0) {
      const some = await this.#some(this.#left);
      if (some === undefined) throw new InvalidContentError('layer ends in the middle of a file');
      this.#left -= some.byteLength;
      yield some;
    }
  }

  /** Resolves with the whole content of the present entry, which has `size` bytes. */
  async take(size: number): Promise<Buffer> {
    const content = await this.#upTo(size);
    if (content.byteLength < size) throw new InvalidContentError('layer ends in the middle of a file');
    this.#left = 0;
    return content;
  }

  async close(): Promise<void> {
    await this.#chunks.return?.();
  }

  /** Skips bytes; resolves with the number of missing ones. */
  async #skip(bytes: number): Promise<number> {
    let left = bytes;
    while (left > 0) {
      const some = await this.#some(left);
      if (some === undefined) break;
      left -= some.byteLength;
    }
    return left;
  }

  async #upTo(bytes: number): Promise<Buffer> {
    const parts: Uint8Array[] = [];
    for (let left = bytes; left > 0;) {
      const some = await this.#some(left);
      if (some === undefined) break;
      left -= some.byteLength;
      // The bytes are copied, because the next chunk overwrites them.
      parts.push(Uint8Array.from(some));
    }
    return Buffer.concat(parts);
  }

  async #some(most: number): Promise<Uint8Array | undefined> {
    while (this.#rest.byteLength === 0) {
      const next = await this.#chunks.next();
      if (next.done === true) return undefined;
      this.#rest = next.value;
    }
    const some = this.#rest.subarray(0, most);
    this.#rest = this.#rest.subarray(some.byteLength);
    return some;
  }
}

async function* bounded(
  bytes: AsyncIterable<Uint8Array>,
  { budget, signal }: LayerLimits,
): AsyncGenerator<Uint8Array, void, undefined> {
  const most = budget.bytes;
  for await (const chunk of bytes) {
    signal.throwIfAborted();
    budget.bytes -= chunk.byteLength;
    if (budget.bytes < 0) {
      throw new InvalidContentError(`layer has more than ${String(most)} bytes when it is unpacked`);
    }
    yield chunk;
  }
}
