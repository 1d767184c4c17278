/** Pushes images into a registry by its API. */
import type { Got } from 'got';
import type { TestBlob, TestImage } from '../image.ts';

/** The client has the URL of the registry as its prefix, and the right to push. */
export async function pushImage(client: Got, repository: string, image: TestImage): Promise<void> {
  const { manifest, blobs, digest } = image;
  for (const blob of blobs) await pushBlob(client, repository, blob);
  await client.put(`v2/${repository}/manifests/${digest}`, {
    body: manifest.bytes,
    headers: { 'content-type': manifest.descriptor.mediaType },
  });
}

/** distribution-spec, "Pushing blobs": POST then PUT. */
async function pushBlob(client: Got, repository: string, { descriptor, bytes }: TestBlob): Promise<void> {
  const { headers } = await client.post(`v2/${repository}/blobs/uploads/`);
  const location = new URL(headers.location ?? '', client.defaults.options.prefixUrl);
  location.searchParams.set('digest', descriptor.digest);
  await client.put(location, { body: bytes, headers: { 'content-type': 'application/octet-stream' } });
}
