/**
 * A system that splits packages into pieces, such as Dragonfly and Kraken. The masters get one copy of each package from the
 * registry, and a node sends pieces to others as soon as it has one. A master, or a node with a piece, sends one first piece at
 * a time, so the number of nodes with a piece doubles. A node with a piece exchanges the other pieces with all such nodes.
 */
import type { Site } from './designs.ts';
import { FlowClass, type Link } from './flow-network.ts';
import type { Package } from './replicas.ts';

const PIECE_BYTES = 4 * 1024 ** 2;

interface Swarm {
  readonly pieceBytes: number;
  readonly waiting: (() => void)[];
  /** Undefined before the first node has a piece. */
  exchange: FlowClass | undefined;
  holders: number;
  busy: number;
  busyMasters: number;
}

export class PieceSwarm {
  readonly #site: Site;
  readonly #uploads: Link;
  readonly #exchange: FlowClass;
  readonly #mastersBytesPerSecond: number;
  readonly #slotsOfMasters: number;
  readonly #swarms = new Map<number, Swarm>();
  readonly #uploaders = new Set<number>();
  #accounted = 0;

  constructor(site: Site) {
    const { network, rates, masters } = site;
    this.#site = site;
    this.#mastersBytesPerSecond = rates.master * masters.length;
    this.#uploads = network.link(this.#mastersBytesPerSecond);
    this.#exchange = new FlowClass({ links: [this.#uploads], limit: rates.node });
    this.#slotsOfMasters = Math.floor(this.#mastersBytesPerSecond / rates.nodeUpload);
  }

  fetch(node: number, wanted: Package, done: () => void): void {
    const swarm = this.#swarms.get(wanted.number) ?? this.#begin(wanted);
    swarm.waiting.push(() => {
      this.#take(node, swarm, wanted, done);
    });
    this.#serve(swarm);
  }

  #begin({ number, bytes }: Package): Swarm {
    const { network, registry } = this.#site;
    const pieceBytes = Math.min(PIECE_BYTES, bytes);
    const swarm: Swarm = { pieceBytes, waiting: [], exchange: undefined, holders: 0, busy: 0, busyMasters: 0 };
    this.#swarms.set(number, swarm);
    const download = new FlowClass({ links: [registry] });
    network.start(download, pieceBytes, () => {
      const behind = new FlowClass({ links: this.#exchange.links, limit: this.#exchange.limit, behind: download });
      swarm.exchange = behind;
      network.start(download, bytes - pieceBytes, () => {
        swarm.exchange = this.#exchange;
        network.move(behind, this.#exchange);
      });
      this.#serve(swarm);
    });
    return swarm;
  }

  /** Sends a first piece to a node for each free slot. */
  #serve(swarm: Swarm): void {
    const { network, rates } = this.#site;
    while (swarm.exchange !== undefined && swarm.busy < this.#slotsOfMasters + swarm.holders) {
      const next = swarm.waiting.shift();
      if (next === undefined) return;
      const isOfMaster = swarm.busyMasters < this.#slotsOfMasters;
      swarm.busy += 1;
      if (isOfMaster) {
        swarm.busyMasters += 1;
        this.#countMasters(swarm.pieceBytes);
      }
      network.after(swarm.pieceBytes / rates.nodeUpload, () => {
        swarm.busy -= 1;
        if (isOfMaster) swarm.busyMasters -= 1;
        swarm.holders += 1;
        next();
        this.#serve(swarm);
      });
    }
  }

  #take(node: number, swarm: Swarm, { bytes }: Package, done: () => void): void {
    if (!this.#uploaders.has(node)) {
      this.#accountExchange();
      this.#uploaders.add(node);
      this.#uploads.bytesPerSecond += this.#site.rates.nodeUpload;
    }
    this.#site.network.start(swarm.exchange ?? this.#exchange, bytes - swarm.pieceBytes, () => {
      this.#accountExchange();
      done();
    });
    this.#notePeak();
  }

  /** Adds the masters' share of the bytes that were exchanged since the last call. */
  #accountExchange(): void {
    const bytes = this.#uploads.bytes - this.#accounted;
    this.#accounted = this.#uploads.bytes;
    this.#countMasters((bytes * this.#mastersBytesPerSecond) / this.#uploads.bytesPerSecond);
  }

  #countMasters(bytes: number): void {
    const { masters } = this.#site;
    for (const master of masters) master.bytes += bytes / masters.length;
  }

  /** Counts the connections of a master: its first pieces, and its share of the exchanging nodes. */
  #notePeak(): void {
    const { masters, rates } = this.#site;
    const shared = (this.#uploads.flows * rates.master) / this.#uploads.bytesPerSecond;
    const flows = Math.round(shared + this.#slotsOfMasters / masters.length);
    for (const master of masters) master.peakFlows = Math.max(master.peakFlows, flows);
  }
}
