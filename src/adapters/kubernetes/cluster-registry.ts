/** The registry inside a Deckhouse cluster: at the registry agent of this machine, at the store, or where it is recorded. */
import { ANONYMOUS } from '../../domain/credential.ts';
import type { Registry } from '../../domain/upstream.ts';

/** The address of the agent on each node; objects name it, or the Service of the store, for the same registry. */
const AGENT = '127.0.0.1:5001';
const HOSTS: ReadonlySet<string> = new Set([AGENT, 'registry.d8-system.svc:5001']);

/** The account of the store, with the CA of its certificate. */
export type StoreAccount = Pick<Registry, 'credential' | 'ca'>;

/** The ways into the cluster's registry besides the recorded one; undefined where there is none. */
export interface Ways {
  /** The CA of the agent, in PEM. */
  readonly agentCa: readonly string[] | undefined;
  readonly store: StoreAccount | undefined;
  /** Whether the store is asked when the agent refuses the connection. */
  readonly storeOnRefusal: boolean;
}

/** Whether the registry is that of the cluster, by the address that an object records for it. */
export function isClusterRegistry({ host }: Pick<Registry, 'host'>): boolean {
  return HOSTS.has(host);
}

/**
 * How the registry of the cluster is dialled: anonymously at the agent where its CA is known; otherwise at the recorded address
 * with the account of the store; otherwise as recorded, since the package of the agent itself comes through here. Any other
 * registry is dialled as recorded.
 */
export function dial(recorded: Registry, { agentCa, store, storeOnRefusal }: Ways): Registry {
  if (!isClusterRegistry(recorded)) return recorded;
  const { host } = recorded;
  const atStore: Registry | undefined = store && {
    scheme: 'https',
    host,
    credential: store.credential,
    ca: store.ca,
    dialled: { by: 'store', host, trustsCaAlone: false },
  };
  if (agentCa === undefined) return atStore ?? recorded;
  const otherwise = storeOnRefusal ? atStore : undefined;
  return {
    scheme: 'https',
    host,
    credential: ANONYMOUS,
    ca: agentCa,
    dialled: { by: 'agent', host: AGENT, trustsCaAlone: true, ...(otherwise && { otherwise }) },
  };
}
