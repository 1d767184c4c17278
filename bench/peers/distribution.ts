/** docker-registry as a pull-through cache of the origin. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { freePort } from '../../test/support/peers/process.ts';
import { firstOk } from '../probe.ts';
import { blobUrl, registryConfiguration } from './origin.ts';
import type { Peer, PeerOptionsWithOrigin } from './peer.ts';
import { fillStorage } from './registry-storage.ts';

/** Clients of distribution request the layer directly, so it needs no manifest. Our service has to fetch the manifest first. */
export async function startDistribution(
  program: string,
  { workspace, cached = [], origin }: PeerOptionsWithOrigin,
): Promise<Peer> {
  const home = await workspace.folder('distribution');
  const port = await freePort();
  const data = join(home, 'data');
  await mkdir(data);
  await fillStorage(data, cached);
  const configuration = registryConfiguration(port, data, { accessLog: false, upstream: origin.base });
  await writeFile(join(home, 'config.yml'), configuration);
  const process = workspace.spawn(program, ['serve', join(home, 'config.yml')]);
  const base = `http://127.0.0.1:${String(port)}`;
  await firstOk(`${base}/v2/`, process);
  return { name: 'distribution', process, url: (image) => blobUrl(base, image) };
}
