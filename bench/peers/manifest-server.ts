/** A registry whose images have large manifests and one layer. It serves them faster than a real registry would. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type BenchImage, createImage, largeJson } from '../bench-image.ts';
import { KIB } from '../figures.ts';
import { REPOSITORY } from './registry-storage.ts';

export interface ManifestServer {
  readonly images: readonly BenchImage[];
  /** The name of the repository in the settings of the service. */
  readonly repo: string;
  close(): void;
}

/** Serves `count` images, each with a manifest of this size and a unique beginning. */
export async function startManifestServer(folder: string, bytes: number, count: number): Promise<ManifestServer> {
  const image = await createImage(folder, KIB);
  const manifest = JSON.parse(await readFile(image.manifest.path, 'utf8')) as object;
  const layer = await readFile(image.layer.path);
  const rest = Buffer.from(largeJson(bytes, manifest).slice(1));
  const beginnings = new Map<string, string>();
  const images = Array.from({ length: count }, (_, index): BenchImage => {
    const beginning = `{"number":${String(index)},`;
    const hex = createHash('sha256').update(beginning).update(rest).digest('hex');
    beginnings.set(hex, beginning);
    return { ...image, hex, manifest: { ...image.manifest, hex, size: beginning.length + rest.byteLength } };
  });
  const server = createServer((request, response) => {
    const hex = request.url?.split('sha256:')[1] ?? '';
    const beginning = beginnings.get(hex);
    if (beginning !== undefined) {
      const length = beginning.length + rest.byteLength;
      response.writeHead(200, { 'Content-Type': image.manifest.mediaType, 'Content-Length': length });
      response.write(beginning);
      response.end(rest);
    } else if (hex === image.layer.hex) response.writeHead(200, { 'Content-Length': layer.byteLength }).end(layer);
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    images,
    repo: `127.0.0.1:${String(port)}/${REPOSITORY}`,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}
