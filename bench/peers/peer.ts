/** The interface of a peer for all scenarios. */
import type { BenchImage } from '../bench-image.ts';
import type { MeasuredProcess } from '../measured-process.ts';
import type { Workspace } from '../workspace.ts';

export const PEER_NAMES = [
  'ours',
  'nginx',
  'nginx proxy_cache',
  'go io.Copy',
  /** The same, with the digest of a miss checked before the answer ends. */
  'go, verified',
  'distribution',
  'origin',
] as const;
export type PeerName = (typeof PEER_NAMES)[number];

export interface Peer {
  readonly name: PeerName;
  readonly process: MeasuredProcess;
  /** Where it serves the package of an image. */
  url(image: BenchImage): string;
}

/** The registry behind the peers. */
export interface Upstream {
  /** `http://127.0.0.1:PORT` */
  readonly base: string;
  readonly repo: string;
  /** The same registry for clients that ask it directly. */
  readonly peer: Peer;
}

export interface PeerOptions {
  readonly workspace: Workspace;
  /** The images that it has already cached. */
  readonly cached?: readonly BenchImage[];
  /** Where it gets the rest; undefined when there is no registry. */
  readonly origin: Upstream | undefined;
  /** The service's memory of sockets for bodies that are sent; without a limit by default. */
  readonly maxSocketMemory?: string;
}

export type PeerOptionsWithOrigin = PeerOptions & { readonly origin: Upstream };
