import { expect } from 'chai';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { TarLayerFiles } from '../../../src/adapters/archive/tar-layer-files.ts';
import { iconOfLayers, type LayerSource } from '../../../src/application/icon-of-layers.ts';
import type { Descriptor } from '../../../src/domain/descriptor.ts';
import { DigestMismatchError, InvalidContentError, UpstreamUnavailableError } from '../../../src/domain/errors.ts';
import { type ArchiveEntry, archiveOf } from '../../support/archive.ts';
import { bytesOf, makeBlob } from '../../support/image.ts';
import { rejection } from '../../support/rejection.ts';
import { chunksOf } from '../../support/source.ts';

const [SVG, PNG] = ['docs/icon.svg', 'docs/icon.png'];
const svg: ArchiveEntry = { path: SVG, content: '<svg/>' };
const png: ArchiveEntry = { path: PNG, content: 'png' };
const docs: ArchiveEntry = { path: 'docs/', kind: 'directory' };

describe('iconOfLayers', () => {
  /** Layers that were opened, by their place from the bottom. */
  let opened: number[];

  function find(layers: readonly Uint8Array[], options: Partial<LayerSource> = {}): ReturnType<typeof iconOfLayers> {
    opened = [];
    const blobs = layers.map((bytes) => makeBlob('application/vnd.oci.image.layer.v1.tar+gzip', bytes));
    return iconOfLayers(
      blobs.map(({ descriptor }) => descriptor),
      {
        files: new TarLayerFiles(),
        open: ({ digest }) => {
          const index = blobs.findLastIndex(({ descriptor }) => descriptor.digest === digest);
          opened.push(index);
          return Promise.resolve(chunksOf(blobs[index]?.bytes ?? Buffer.alloc(0), 1000));
        },
        signal: new AbortController().signal,
        ...options,
      },
    );
  }
  /** The name and the content of the icon in an image of these layers, the lowest first; `none` where there is none. */
  async function shown(...layers: readonly (readonly ArchiveEntry[])[]): Promise<string> {
    try {
      const { name, bytes } = await find(layers.map((entries) => gzipSync(archiveOf(...entries))));
      return `${name} ${Buffer.from(bytes).toString()}`;
    } catch (error) {
      if (error instanceof InvalidContentError) return 'none';
      throw error;
    }
  }

  it('uses the best candidate of all layers', async () => {
    expect(await shown([svg], [png])).to.equal('docs/icon.svg <svg/>');
    expect(await shown([png], [{ path: 'docs/icon.jpeg', content: 'jpeg' }])).to.equal('docs/icon.png png');
    const [jpeg, jpg] = [{ path: 'docs/icon.jpeg' }, { path: 'docs/icon.jpg', content: 'jpg' }];
    expect(await shown([jpeg, jpg])).to.equal('docs/icon.jpg jpg');
    expect(await shown([{ path: 'docs/icon.gif' }, { path: 'icon.svg' }, { path: 'other/docs/icon.svg' }])).to.equal(
      'none',
    );
  });

  it('uses the upper one of two equal candidates', async () => {
    expect(await shown([{ ...svg, content: 'old' }], [svg], [{ path: 'bin/x' }])).to.equal('docs/icon.svg <svg/>');
  });

  it('reads names with one leading "./" or "/"', async () => {
    for (const start of ['./', '/']) expect(await shown([{ ...svg, path: `${start}${SVG}` }])).to.include('<svg/>');
    for (const path of [
      'docs/../docs/icon.svg',
      'docs//icon.svg',
      '../docs/icon.svg',
      'DOCS/icon.svg',
      'docs/icon.svg\0x',
    ])
      expect(await shown([{ ...svg, path }]), path).to.equal(path.includes('\0') ? 'docs/icon.svg <svg/>' : 'none');
  });

  const hiding: Readonly<Record<string, readonly ArchiveEntry[]>> = {
    'a whiteout of the file': [{ path: 'docs/.wh.icon.svg' }, { path: 'docs/.wh.icon.png' }],
    'a whiteout of its folder': [{ path: '.wh.docs' }],
    'an opaque folder': [docs, { path: 'docs/.wh..wh..opq' }],
    'an opaque image': [{ path: '.wh..wh..opq' }],
    'a whiteout with a leading "./"': [{ path: './.wh.docs' }],
    'a file in the place of the folder': [{ path: 'docs', content: 'file' }],
    'a link in the place of the folder': [{ path: 'docs', kind: 'symlink', target: '/usr/share/doc' }],
    'a folder in the place of the file': [
      { path: `${SVG}/`, kind: 'directory' },
      { path: `${PNG}/`, kind: 'directory' },
    ],
    'a link in the place of the file': [
      { path: SVG, kind: 'symlink', target: '/etc/shadow' },
      { path: PNG, kind: 'hardlink', target: 'other' },
    ],
  };
  for (const [what, entries] of Object.entries(hiding)) {
    it(`shows no icon that ${what} hides from above`, async () => {
      expect(await shown([docs, svg, png], entries)).to.equal('none');
      expect(await shown([docs, svg, png], entries, [{ path: 'bin/x' }])).to.equal('none');
      // A higher layer can contain another icon.
      expect(await shown([docs, svg, png], entries, [docs, { ...png, content: 'new' }])).to.equal('docs/icon.png new');
    });
  }

  it('ignores files that only look like a whiteout', async () => {
    const others = [
      'docs/.wh.icon',
      'docs/.wh.icon.svg.bak',
      'docs/.wh.',
      '.wh.doc',
      'other/.wh.docs',
      'docs/.wh.docs',
    ];
    for (const path of [...others, 'docs/x/.wh..wh..opq', 'docs/icon.svg.wh.']) {
      expect(await shown([svg], [{ path }]), path).to.equal('docs/icon.svg <svg/>');
    }
  });

  it('hides only the file of a whiteout', async () => {
    expect(await shown([svg, png], [{ path: 'docs/.wh.icon.svg' }])).to.equal('docs/icon.png png');
  });

  it('does not apply a whiteout to its own layer, at any place', async () => {
    for (const path of ['.wh.docs', 'docs/.wh..wh..opq', 'docs/.wh.icon.svg']) {
      expect(await shown([{ ...svg, content: 'old' }], [{ path }, svg])).to.equal('docs/icon.svg <svg/>');
      expect(await shown([{ ...svg, content: 'old' }], [svg, { path }])).to.equal('docs/icon.svg <svg/>');
    }
  });

  it('uses the last of several entries with one name, as an unpacking program does', async () => {
    expect(await shown([{ ...svg, content: 'first' }, svg])).to.equal('docs/icon.svg <svg/>');
    expect(await shown([svg, { path: SVG, kind: 'symlink', target: '/etc/shadow' }])).to.equal('none');
    expect(await shown([svg, { path: 'docs', content: 'file' }])).to.equal('none');
    expect(await shown([{ path: SVG, kind: 'symlink', target: 'x' }, svg])).to.equal('docs/icon.svg <svg/>');
  });

  it('reads no layer below the deciding one, and none twice', async () => {
    const layer = (...entries: ArchiveEntry[]): Buffer => gzipSync(archiveOf(...entries));
    const empty = gzipSync(Buffer.alloc(1024));
    await find([layer(svg), layer(png), empty, layer(svg, png), empty, empty]);
    expect(opened).to.deep.equal([5, 3]);
    await find([layer({ path: 'a' }), layer(svg), layer(png)]);
    expect(opened).to.deep.equal([2, 1]);
    expect(await rejection(find([layer(svg), layer({ path: '.wh.docs' }), layer({ path: 'b' })]))).to.be.instanceOf(
      InvalidContentError,
    );
    expect(opened).to.deep.equal([2, 1]);
  });

  it('reads layers with gzip, with zstd and without compression, and layers without files', async () => {
    for (const pack of [gzipSync, zstdCompressSync, (bytes: Buffer) => bytes]) {
      const { bytes } = await find([pack(archiveOf(docs, svg)), pack(Buffer.alloc(1024)), Buffer.alloc(0)]);
      expect(Buffer.from(bytes).toString()).to.equal('<svg/>');
    }
  });

  it('accepts an icon of 4 MiB, and none with one byte more', async () => {
    const largest = bytesOf(4 << 20, 3);
    const { bytes } = await find([gzipSync(archiveOf({ path: SVG, content: largest }))]);
    expect(Buffer.compare(bytes, largest)).to.equal(0);
    const larger = { path: SVG, content: Buffer.concat([largest, Buffer.from('x')]) };
    const error = await rejection(find([gzipSync(archiveOf(png)), gzipSync(archiveOf(larger))]));
    expect(error).to.be.instanceOf(InvalidContentError);
    expect(error.message).to.equal('docs/icon.svg has more than 4194304 bytes');
  });

  it('unpacks at most 1 GiB for an icon, in any number of layers', async function () {
    this.timeout(60_000);
    const zeros = Buffer.alloc(64 << 20);
    // Each is another layer, of 64 MiB in 64 KiB.
    const bombs = Array.from({ length: 20 }, (_, seed) =>
      gzipSync(archiveOf({ path: `bomb${String(seed)}`, content: zeros }), { level: 1 }),
    );
    const before = process.memoryUsage.rss();
    const error = await rejection(find([gzipSync(archiveOf(svg)), ...bombs]));
    expect(error).to.be.instanceOf(InvalidContentError);
    expect(error.message).to.match(/more than \d+ bytes when it is unpacked/);
    expect(opened).to.have.lengthOf(16);
    expect(process.memoryUsage.rss() - before).to.be.below(256 << 20);
  });

  it('reads at most 256 MiB of packed layers for an icon', async () => {
    const [first, second] = [gzipSync(archiveOf(svg)), gzipSync(archiveOf({ path: 'a' }))];
    const layers = [first, second].map((bytes): Descriptor => makeBlob('a/b', bytes).descriptor);
    const [lower, upper] = layers as [Descriptor, Descriptor];
    const source = {
      files: new TarLayerFiles(),
      open: () => Promise.resolve(chunksOf(second, 100)),
      signal: new AbortController().signal,
    };
    const error = await rejection(iconOfLayers([{ ...lower, size: 256 << 20 }, upper], source));
    expect(error.message).to.equal('layers above the icon have more than 268435456 bytes');
  });

  it('uses nothing of a layer with a wrong digest, whether it is complete or not', async () => {
    const real = gzipSync(archiveOf(png));
    const forged = [
      gzipSync(archiveOf(svg)),
      Buffer.from('<html>'.repeat(50)),
      Buffer.concat([real, Buffer.from('x')]),
      real.subarray(0, -1),
      Buffer.alloc(0),
    ];
    for (const bytes of forged) {
      const error = await rejection(find([real], { open: () => Promise.resolve(chunksOf(bytes, 100)) }));
      expect(error, bytes.toString('latin1').slice(0, 20)).to.be.instanceOf(DigestMismatchError);
    }
  });

  it('uses no icon from below a layer that it cannot read', async () => {
    const broken = [
      gzipSync(archiveOf({ path: 'a', content: 'b'.repeat(5000) })).subarray(0, 60),
      Buffer.from('{"a":1}'),
    ];
    for (const bytes of broken) {
      expect(await rejection(find([gzipSync(archiveOf(svg)), bytes]))).to.be.instanceOf(InvalidContentError);
    }
  });

  it('closes each layer, and rejects with the error of one that breaks off', async () => {
    const layer = gzipSync(archiveOf(svg));
    let closed = 0;
    const failure = new UpstreamUnavailableError();
    async function* breaking(): AsyncGenerator<Uint8Array> {
      try {
        yield await Promise.resolve(layer.subarray(0, 40));
        throw failure;
      } finally {
        closed++;
      }
    }
    expect(await rejection(find([layer], { open: () => Promise.resolve(breaking()) }))).to.equal(failure);
    expect(closed).to.equal(1);
  });
});
