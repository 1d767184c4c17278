/** Starts bench/peers/copyproxy, which copies packages as the existing implementation does, without its other features. */
import { join } from 'node:path';
import { freePort } from '../../test/support/peers/process.ts';
import { place } from '../bench-image.ts';
import { firstOk } from '../probe.ts';
import type { Peer, PeerName, PeerOptions } from './peer.ts';
import { REPOSITORY } from './registry-storage.ts';

export async function startCopyProxy(
  program: string,
  name: Extract<PeerName, 'go io.Copy' | 'go, verified'>,
  { workspace, cached = [], origin }: PeerOptions,
): Promise<Peer> {
  const directory = await workspace.folder('copyproxy');
  for (const { hex, layer } of cached) await place(layer, join(directory, hex));
  const port = await freePort();
  const process = workspace.spawn(program, [
    `-listen=127.0.0.1:${String(port)}`,
    `-directory=${directory}`,
    `-upstream=${origin?.base ?? 'http://registry.invalid'}/v2/${REPOSITORY}`,
    ...(name === 'go, verified' ? ['-verify'] : []),
  ]);
  const base = `http://127.0.0.1:${String(port)}`;
  await firstOk(`${base}/healthz`, process);
  return { name, process, url: ({ hex }) => `${base}/package?digest=sha256:${hex}` };
}
