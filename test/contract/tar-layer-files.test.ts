import { expect } from 'chai';
import { gzipSync } from 'node:zlib';
import { TarLayerFiles } from '../../src/adapters/archive/tar-layer-files.ts';
import { archiveOf } from '../support/archive.ts';
import { bytesOf } from '../support/image.ts';
import { describeLayerFiles } from './layer-files.ts';

const MIB = 1024 * 1024;

describe('TarLayerFiles', () => {
  describeLayerFiles(() => new TarLayerFiles());

  it('frees the unpacked chunks of a large file without waiting for the garbage collector', async () => {
    const size = 4 * MIB;
    const layer = gzipSync(archiveOf({ path: 'large', content: bytesOf(size) }));
    const limits = { budget: { bytes: Infinity }, signal: new AbortController().signal };
    const buffers = new Set<ArrayBufferLike>();
    for await (const { bytes } of new TarLayerFiles().list(once(layer), limits)) {
      for await (const { buffer } of bytes) buffers.add(buffer);
    }
    const left = [...buffers].reduce((sum, { byteLength }) => sum + byteLength, 0);
    expect(left).to.be.at.most(MIB / 2);
  });
});

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
