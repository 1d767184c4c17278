/** The masters. Each downloads a package once; its clients read during the download, and later requests are hits. */
import { FlowClass, type FlowNetwork, type Link } from './flow-network.ts';

export interface Package {
  readonly number: number;
  readonly bytes: number;
}

export interface ReplicasOptions {
  readonly network: FlowNetwork;
  readonly masters: readonly Link[];
  /** The rate of a node in bytes per second. */
  readonly node: number;
  /** The link of a download. */
  readonly source: (wanted: Package) => Link;
  /** Called when a master has downloaded a package. */
  readonly onCached?: (wanted: Package) => void;
  /** A link between masters and nodes. */
  readonly before?: Link;
}

interface Copy {
  readonly hits: FlowClass;
  /** Undefined once the package is cached. */
  behind: FlowClass | undefined;
}

export class Replicas {
  readonly #options: ReplicasOptions;
  /** One class for each master, for the hits of all packages. */
  readonly #hits: readonly FlowClass[];
  readonly #copies: readonly Map<number, Copy>[];

  constructor(options: ReplicasOptions) {
    this.#options = options;
    const { masters, before, node } = options;
    this.#hits = masters.map((master) => new FlowClass({ links: before ? [master, before] : [master], limit: node }));
    this.#copies = masters.map(() => new Map());
  }

  send(master: number, wanted: Package, done: () => void): void {
    const copies = this.#copies[master];
    const hits = this.#hits[master];
    if (copies === undefined || hits === undefined) throw new RangeError(`no master ${String(master)}`);
    let copy = copies.get(wanted.number);
    if (copy === undefined) {
      copy = this.#download(wanted, hits);
      copies.set(wanted.number, copy);
    }
    this.#options.network.start(copy.behind ?? copy.hits, wanted.bytes, done);
  }

  #download(wanted: Package, hits: FlowClass): Copy {
    const { network, node, source, onCached } = this.#options;
    const download = new FlowClass({ links: [source(wanted)] });
    const behind = new FlowClass({ links: hits.links, limit: node, behind: download });
    const copy: Copy = { hits, behind };
    network.start(download, wanted.bytes, () => {
      copy.behind = undefined;
      network.move(behind, hits);
      onCached?.(wanted);
    });
    return copy;
  }
}
