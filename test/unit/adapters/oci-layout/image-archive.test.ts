import { expect } from 'chai';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { ImageArchive } from '../../../../src/adapters/oci-layout/image-archive.ts';
import { type Digest, digestHex, digestOf } from '../../../../src/domain/descriptor.ts';
import { InvalidContentError } from '../../../../src/domain/errors.ts';
import { type Manifest, parseManifest } from '../../../../src/domain/manifest.ts';
import { type ArchiveEntry, archiveOf } from '../../../support/archive.ts';
import { bytesOf, encode, makeIndex, makePackage } from '../../../support/image.ts';
import {
  configOf,
  dockerArchive,
  layoutArchive,
  listedImage,
  listedIndex,
  podmanArchive,
} from '../../../support/image-archive.ts';
import { UPSTREAM } from '../../../support/ports.ts';
import { rejection } from '../../../support/rejection.ts';

const never = new AbortController().signal;

describe('ImageArchive', () => {
  let directory: string;
  let path: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'image-archive-'));
    path = join(directory, 'images.tar');
  });
  afterEach(() => rm(directory, { recursive: true }));

  const open = async (archive: Buffer): Promise<ImageArchive> => {
    await writeFile(path, archive);
    return ImageArchive.open(path, never);
  };
  const failure = async (archive: Buffer): Promise<string> => {
    const error = await rejection(open(archive));
    expect(error).to.be.instanceOf(InvalidContentError);
    return error.message;
  };

  it('has the images that the index of a layout lists, with all of their names', async () => {
    const [image, other] = [makePackage(1000), makePackage(2000, 2)];
    const index = makeIndex([{ image: other, platform: { os: 'linux', architecture: 'arm64' } }]);
    const archive = await open(
      layoutArchive(
        listedImage(image, 'registry.example.com/jq:1.7', 'registry.example.com/jq:latest'),
        listedIndex(index),
      ),
    );
    expect(archive.images).to.deep.equal([
      { digest: image.digest, names: ['registry.example.com/jq:1.7', 'registry.example.com/jq:latest'] },
      { digest: index.digest, names: [] },
    ]);
    archive.close();
  });

  it('skips attestations and entries that are not images', async () => {
    const image = makePackage(1000);
    const attestation = {
      ...makePackage(10, 2).manifest.descriptor,
      annotations: { 'vnd.docker.reference.type': 'x' },
    };
    const manifests = [attestation, { digest: 'sha512:00' }, 'text', image.manifest.descriptor];
    const archive = await open(archiveOf({ path: 'index.json', content: encode({ manifests }) }));
    expect(archive.images.map(({ digest }) => digest)).to.deep.equal([image.digest]);
    archive.close();
  });

  for (const [program, archiveWith] of [
    ['Docker before 25', dockerArchive],
    ['Podman', podmanArchive],
  ] as const) {
    it(`makes manifests from the config and layers of the images of ${program}`, async () => {
      const [base, top, own] = [bytesOf(1000), bytesOf(2000, 2), bytesOf(3000, 3)];
      // One layer twice in an image, and one that both have: Docker writes links.
      const saved = [
        { tags: ['jq:1.7', 'jq:latest'], layers: [base, top, base] },
        { tags: [], layers: [base, own] },
      ];
      const archive = await open(archiveWith(...saved));
      expect(archive.images.map(({ names }) => names)).to.deep.equal([['jq:1.7', 'jq:latest'], []]);
      for (const [index, { layers }] of saved.entries()) {
        const digest = archive.images[index]?.digest ?? ('' as Digest);
        const bytes = await archive.fetchManifest(UPSTREAM, digest, never);
        expect(digestOf(bytes)).to.equal(digest);
        const manifest = parseManifest(bytes) as Manifest;
        expect(manifest.config?.digest).to.equal(digestOf(configOf({ tags: [], layers })));
        expect(manifest.layers.map((layer) => layer.digest)).to.deep.equal(layers.map(digestOf));
        for (const [place, descriptor] of manifest.layers.entries()) {
          const chunks: Buffer[] = [];
          for await (const chunk of await archive.fetchBlob(UPSTREAM, descriptor, 0, never))
            chunks.push(Buffer.from(chunk));
          expect(Buffer.compare(Buffer.concat(chunks), layers[place] ?? bytes)).to.equal(0);
        }
      }
      archive.close();
    });
  }

  it('reports what is missing or wrong in a saved archive', async () => {
    const layer = bytesOf(1000);
    const config = configOf({ tags: [], layers: [layer] });
    const name = `${digestHex(digestOf(config))}.json`;
    const saved = (entry: object, ...files: readonly ArchiveEntry[]): Buffer =>
      archiveOf(...files, { path: 'manifest.json', content: encode([entry]) });
    const whole = { Config: name, RepoTags: null, Layers: ['layer.tar'] };
    const itsConfig = { path: name, content: config };
    expect(await failure(archiveOf({ path: 'x' }))).to.equal(
      'archive has neither the index.json of an OCI image layout nor the manifest.json of "docker save"',
    );
    expect(await failure(archiveOf({ path: 'manifest.json', content: '{' }))).to.equal('manifest.json is not JSON');
    expect(await failure(saved({}))).to.equal('manifest.json has an image without a config');
    expect(await failure(saved(whole))).to.equal('archive lacks the config of an image');
    expect(await failure(saved(whole, { path: name, content: '{}' }))).to.match(
      /^config does not match the digest in its name: /,
    );
    expect(await failure(saved({ ...whole, Layers: [] }, itsConfig))).to.equal(
      'manifest.json and a config disagree on layers',
    );
    expect(await failure(saved(whole, itsConfig))).to.equal(`layer ${digestOf(layer)} is no file of the archive`);
    const link = { path: 'layer.tar', kind: 'symlink', target: '/etc/passwd' } as const;
    expect(await failure(saved(whole, itsConfig, link))).to.equal(`layer ${digestOf(layer)} is no file of the archive`);
    expect(await failure(saved(whole, itsConfig, { path: 'layer.tar', content: gzipSync(layer) }))).to.equal(
      `layer ${digestOf(layer)} is compressed in the archive, which does not say by which digest`,
    );
    expect(await failure(saved({ ...whole, Config: 'c' }, { path: 'c', content: encode({ rootfs: {} }) }))).to.equal(
      'manifest.json and a config disagree on layers',
    );
    expect(
      await failure(
        saved({ ...whole, Config: 'c' }, { path: 'c', content: encode({ rootfs: { diff_ids: ['md5:0'] } }) }),
      ),
    ).to.equal('config has a layer without a sha256 digest');
  });
});
