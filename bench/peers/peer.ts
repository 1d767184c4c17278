/** The interface of a peer for all scenarios. */
import type { BenchImage } from '../bench-image.ts';
import type { MeasuredProcess } from '../measured-process.ts';
import type { Workspace } from '../workspace.ts';

export const PEER_NAMES = [
  'ours',
  'nginx',
  'nginx proxy_cache',
  'go io.Copy',
  /** go io.Copy that checks the digest of a miss before it ends the answer. */
  'go, verified',
  'distribution',
  'origin',
] as const;
export type PeerName = (typeof PEER_NAMES)[number];

export interface Peer {
  readonly name: PeerName;
  readonly process: MeasuredProcess;
  /** The URL of the package of an image. */
  url(image: BenchImage): string;
}

/** The registry behind the peers. */
export interface Upstream {
  /** `http://127.0.0.1:PORT` */
  readonly base: string;
  readonly repo: string;
  /** The registry as a peer, for clients that use it directly. */
  readonly peer: Peer;
}

export interface PeerOptions {
  readonly workspace: Workspace;
  /** The images that are cached before the start. */
  readonly cached?: readonly BenchImage[];
  /** The registry of other images; undefined if there is none. */
  readonly origin: Upstream | undefined;
  /** The setting `server.maxSocketMemory` of the service; no limit by default. */
  readonly maxSocketMemory?: string;
}

export type PeerOptionsWithOrigin = PeerOptions & { readonly origin: Upstream };
