/** Starts the peers whose programs are installed. */
import { startCopyProxy } from './copyproxy.ts';
import { startDistribution } from './distribution.ts';
import { startNginxCache, startNginxFiles } from './nginx.ts';
import type { Peer, PeerName, PeerOptions } from './peer.ts';
import type { Programs } from './programs.ts';
import { startService } from './service.ts';

/** Returns the peers in the order of the names. The report names the missing ones, which are left out here. */
export async function startPeers(
  programs: Programs,
  names: readonly PeerName[],
  options: PeerOptions,
): Promise<readonly Peer[]> {
  const peers: Peer[] = [];
  for (const name of names) {
    const peer = await startPeer(programs, name, options);
    if (peer !== undefined) peers.push(peer);
  }
  return peers;
}

async function startPeer(programs: Programs, name: PeerName, options: PeerOptions): Promise<Peer | undefined> {
  const { nginx, registry, copyproxy, service } = programs;
  const { origin } = options;
  switch (name) {
    case 'ours':
      return startService(service, options);
    case 'nginx':
      return nginx === undefined ? undefined : startNginxFiles(nginx, options);
    case 'nginx proxy_cache':
      return nginx === undefined || origin === undefined ? undefined : startNginxCache(nginx, { ...options, origin });
    case 'go io.Copy':
    case 'go, verified':
      return startCopyProxy(copyproxy, name, options);
    case 'distribution':
      return registry === undefined || origin === undefined
        ? undefined
        : startDistribution(registry, { ...options, origin });
    case 'origin':
      return origin?.peer;
  }
}
