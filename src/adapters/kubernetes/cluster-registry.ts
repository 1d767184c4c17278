/** Chooses how to reach the registry of a Deckhouse cluster: at the agent of this machine, at the store, or as recorded. */
import { ANONYMOUS } from '../../domain/credential.ts';
import type { Registry } from '../../domain/upstream.ts';

/** The address of the agent on each node. For the same registry, objects have this address or that of the store's Service. */
const AGENT = '127.0.0.1:5001';
const HOSTS: ReadonlySet<string> = new Set([AGENT, 'registry.d8-system.svc:5001']);

/** The account for the store, with the CA of its certificate. */
export type StoreAccount = Pick<Registry, 'credential' | 'ca'>;

/** The other ways to the registry of the cluster; undefined if a way does not exist. */
export interface Ways {
  /** The CA of the agent, in PEM. */
  readonly agentCa: readonly string[] | undefined;
  readonly store: StoreAccount | undefined;
  /** Whether the service uses the store when the agent refuses the connection. */
  readonly storeOnRefusal: boolean;
}

/** Whether the address in an object is that of the registry of the cluster. */
export function isClusterRegistry({ host }: Pick<Registry, 'host'>): boolean {
  return HOSTS.has(host);
}

/**
 * Returns the registry to connect to. For the registry of the cluster: the agent, anonymously, if its CA is known; otherwise the
 * recorded address with the account of the store; otherwise the registry as recorded, because nodes get the package of the
 * agent from this service. Any other registry stays as recorded.
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
