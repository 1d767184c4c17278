/** The files of a layer, out of its tar. */
import { createTarDecoder, type ParsedTarEntry } from 'modern-tar';
import { InvalidContentError, PackageError } from '../../domain/errors.ts';
import type { LayerFile, LayerFiles, LayerLimits } from '../../domain/ports/layer-files.ts';
import { unpacked } from './unpacked.ts';

export class TarLayerFiles implements LayerFiles {
  async *list(layer: AsyncIterable<Uint8Array>, limits: LayerLimits): AsyncGenerator<LayerFile, void, undefined> {
    const archive = bounded(unpacked(layer), limits);
    const entries = ReadableStream.from(archive).pipeThrough(createTarDecoder());
    let isEmpty = true;
    try {
      for await (const entry of entries) {
        isEmpty = false;
        const { header, body } = entry;
        if (header.type === 'file') {
          yield { path: header.name.replace(/^(?:\.?\/)+/, ''), size: header.size, bytes: bytesOf(entry) };
        }
        // The decoder reaches the next entry only when this one is read or given up.
        if (!body.locked) await body.cancel();
      }
    } catch (error) {
      if (error instanceof PackageError || error === limits.signal.reason) throw error;
      throw new InvalidContentError('layer is not a valid tar archive', { cause: error });
    } finally {
      // The streams close it too, but only some turns after this generator has ended.
      await archive.return();
    }
    if (isEmpty) throw new InvalidContentError('layer is not a tar archive, or is empty');
  }
}

/** A decoder ends a file that the archive cuts off as if it were whole. */
async function* bytesOf({ header, body }: ParsedTarEntry): AsyncGenerator<Uint8Array, void, undefined> {
  let received = 0;
  for await (const chunk of body) {
    received += chunk.byteLength;
    yield chunk;
  }
  if (received !== header.size) throw new InvalidContentError('layer ends in the middle of a file');
}

async function* bounded(
  bytes: AsyncIterable<Uint8Array>,
  { maxUnpackedBytes, signal }: LayerLimits,
): AsyncGenerator<Uint8Array, void, undefined> {
  let unpackedBytes = 0;
  for await (const chunk of bytes) {
    signal.throwIfAborted();
    unpackedBytes += chunk.byteLength;
    if (unpackedBytes > maxUnpackedBytes) {
      throw new InvalidContentError(`layer has more than ${String(maxUnpackedBytes)} bytes when it is unpacked`);
    }
    yield chunk;
  }
}
