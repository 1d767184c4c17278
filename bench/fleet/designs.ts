/** Designs that bring packages from a registry to nodes. Each defines how one request of a node is served. */
import type { Dice } from '../../test/support/dice.ts';
import { FlowClass, type FlowNetwork, type Link } from './flow-network.ts';
import type { Rates } from './rates.ts';
import { type Package, Replicas } from './replicas.ts';
import { PieceSwarm } from './piece-swarm.ts';

/** The inputs of a design. */
export interface Site {
  readonly network: FlowNetwork;
  readonly rates: Rates;
  readonly registry: Link;
  readonly masters: readonly Link[];
  readonly packages: readonly Package[];
  readonly dice: Dice;
}

/** Serves the request of a node for a package; calls `done` when the node has the whole package. */
export type Fetch = (node: number, wanted: Package, done: () => void) => void;

export interface Design {
  readonly name: string;
  build(site: Site): Fetch;
}

const GIGABIT = 1e9 / 8;
/** The number of nodes that a node with a whole package serves at a time. Other nodes ask a master. */
const READERS_OF_A_NODE = 4;

export const DESIGNS: readonly Design[] = [
  { name: 'none: three masters', build: (site) => toAnyMaster(site, replicasOf(site)) },
  { name: 'bucket, read by the masters', build: bucket },
  { name: 'balancer, hash of the digest', build: balancer },
  ...[10, 40, 200].map((gigabits) => redirect(gigabits)),
  { name: 'P2P of pieces', build: pieces },
  { name: 'P2P of whole packages', build: wholePackages },
];

function replicasOf(site: Site, more: Partial<ConstructorParameters<typeof Replicas>[0]> = {}): Replicas {
  const { network, masters, rates, registry } = site;
  return new Replicas({ network, masters, node: rates.node, source: () => registry, ...more });
}

/** Each node asks the masters in random order, so its first master is a random one. */
function toAnyMaster({ dice, masters }: Site, replicas: Replicas): Fetch {
  return (_node, wanted, done) => {
    replicas.send(dice.below(masters.length), wanted, done);
  };
}

/** A master asks the bucket first, and writes downloads from the registry to it. */
function bucket(site: Site): Fetch {
  const link = site.network.link(site.rates.bucket);
  const writes = new FlowClass({ links: [link] });
  const known = new Set<number>();
  const written = new Set<number>();
  const replicas = replicasOf(site, {
    source: ({ number }) => (written.has(number) ? link : site.registry),
    onCached: ({ number, bytes }) => {
      if (known.has(number)) return;
      known.add(number);
      site.network.start(writes, bytes, () => written.add(number));
    },
  });
  return toAnyMaster(site, replicas);
}

/** One load balancer before all masters: each package has one master, and all bytes pass the balancer. */
function balancer(site: Site): Fetch {
  const replicas = replicasOf(site, { before: site.network.link(site.rates.balancer) });
  const owners = site.packages.map(() => site.dice.below(site.masters.length));
  return (_node, wanted, done) => {
    replicas.send(owners[wanted.number] ?? 0, wanted, done);
  };
}

/** The masters redirect nodes to a store that has all packages. */
function redirect(gigabits: number): Design {
  return {
    name: `redirect to a full store of ${String(gigabits)} Gbit/s`,
    build: ({ network, rates }) => {
      const flows = new FlowClass({ links: [network.link(gigabits * GIGABIT)], limit: rates.node });
      return (_node, { bytes }, done) => {
        network.start(flows, bytes, done);
      };
    },
  };
}

function pieces(site: Site): Fetch {
  const swarm = new PieceSwarm(site);
  return (node, wanted, done) => {
    swarm.fetch(node, wanted, done);
  };
}

/** A node with a whole package serves it to others. A request goes to such a node if it has a free slot at that time. */
function wholePackages(site: Site): Fetch {
  const { network, rates } = site;
  const replicas = replicasOf(site);
  const ask = toAnyMaster(site, replicas);
  const uploads = site.packages.map(() => {
    const link = network.link(0);
    return { link, flows: new FlowClass({ links: [link], limit: rates.node }), holders: 0 };
  });
  return (node, wanted, done) => {
    const upload = uploads[wanted.number];
    if (upload === undefined) throw new RangeError(`no package ${String(wanted.number)}`);
    const finished = (): void => {
      upload.holders += 1;
      upload.link.bytesPerSecond += rates.nodeUpload;
      done();
    };
    if (upload.link.flows < upload.holders * READERS_OF_A_NODE) network.start(upload.flows, wanted.bytes, finished);
    else ask(node, wanted, finished);
  };
}
