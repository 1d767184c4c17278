/** The files of a layer, out of its tar. */
import { createTarDecoder, type ParsedTarEntry } from 'modern-tar';
import { InvalidContentError, PackageError } from '../../domain/errors.ts';
import type { LayerEntry, LayerFiles, LayerLimits } from '../../domain/ports/layer-files.ts';
import { unpacked } from './unpacked.ts';

export class TarLayerFiles implements LayerFiles {
  async *list(layer: AsyncIterable<Uint8Array>, limits: LayerLimits): AsyncGenerator<LayerEntry, void, undefined> {
    const head: { first: number | undefined } = { first: undefined };
    const archive = bounded(unpacked(layer), limits, (chunk) => {
      head.first ??= chunk[0];
    });
    const entries = ReadableStream.from(archive).pipeThrough(createTarDecoder());
    let isEmpty = true;
    try {
      for await (const entry of entries) {
        isEmpty = false;
        const { header, body } = entry;
        const path = header.name.replace(/^(?:\.?\/)+/, '').replace(/\/+$/, '');
        yield { kind: kindOf(header.type), path, size: header.size, bytes: bytesOf(entry) };
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
    // The decoder reads any bytes without an entry as an archive that has ended; one that has ended begins with zeros.
    if (isEmpty && (head.first ?? 0) !== 0) throw new InvalidContentError('layer is not a tar archive');
  }
}

function kindOf(type: ParsedTarEntry['header']['type']): LayerEntry['kind'] {
  return type === 'file' || type === 'directory' ? type : 'other';
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
  { budget, signal }: LayerLimits,
  onChunk: (chunk: Uint8Array) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  const most = budget.bytes;
  for await (const chunk of bytes) {
    signal.throwIfAborted();
    budget.bytes -= chunk.byteLength;
    if (budget.bytes < 0) {
      throw new InvalidContentError(`layer has more than ${String(most)} bytes when it is unpacked`);
    }
    onChunk(chunk);
    yield chunk;
  }
}
