/** Writes images to the storage of a registry in the format of distribution, without a push. */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type BenchImage, place } from '../bench-image.ts';

export const REPOSITORY = 'deckhouse/ee';

/** The format is in distribution, registry/storage/paths.go: blobs by digest, and a link to each blob in each repository. */
export async function fillStorage(root: string, images: readonly BenchImage[], name = REPOSITORY): Promise<void> {
  const registry = join(root, 'docker/registry/v2');
  const repository = join(registry, 'repositories', name);
  for (const { manifest, config, layer } of images) {
    for (const blob of [manifest, config, layer]) {
      await place(blob, join(registry, 'blobs/sha256', blob.hex.slice(0, 2), blob.hex, 'data'));
    }
    for (const { hex } of [config, layer]) await writeLink(join(repository, '_layers/sha256', hex), hex);
    await writeLink(join(repository, '_manifests/revisions/sha256', manifest.hex), manifest.hex);
  }
}

async function writeLink(folder: string, hex: string): Promise<void> {
  const path = join(folder, 'link');
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, `sha256:${hex}`);
}
