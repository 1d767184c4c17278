import { expect } from 'chai';
import { dial, isClusterRegistry, type StoreAccount } from '../../../../src/adapters/kubernetes/cluster-registry.ts';
import { ANONYMOUS, basic, userOf } from '../../../../src/domain/credential.ts';
import { parseUpstream, type Registry } from '../../../../src/domain/upstream.ts';
import { CA, SECOND_ROOT } from '../../../support/tls/certificates.ts';

const AGENT_CA = [CA];
const STORE: StoreAccount = { credential: basic('store', 'canary-store'), ca: [SECOND_ROOT] };
const recordedAs = (repo: string): Registry => parseUpstream({ repo, dockerCfg: ACCOUNT }).registry;
/** The account that an object records for any registry: it must not leave for another server. */
const ACCOUNT = Buffer.from(
  JSON.stringify({
    auths: Object.fromEntries(
      ['registry.example', '127.0.0.1:5001', 'registry.d8-system.svc:5001'].map((host) => [
        host,
        { username: 'recorded', password: 'canary-recorded' },
      ]),
    ),
  }),
).toString('base64');

const SVC = 'registry.d8-system.svc:5001';
const LOOPBACK = '127.0.0.1:5001';
/** Recorded address, whether there is a CA of the agent, whether there is an account; then server, user, trust. */
const STATES: readonly (readonly [string, boolean, boolean, string, string | undefined, readonly string[]])[] = [
  ['registry.example', false, false, 'registry.example', 'recorded', []],
  ['registry.example', true, false, 'registry.example', 'recorded', []],
  ['registry.example', false, true, 'registry.example', 'recorded', []],
  ['registry.example', true, true, 'registry.example', 'recorded', []],
  [SVC, false, false, SVC, 'recorded', []],
  [SVC, true, false, LOOPBACK, undefined, [CA]],
  [SVC, false, true, SVC, 'store', [SECOND_ROOT]],
  [SVC, true, true, LOOPBACK, undefined, [CA]],
  [LOOPBACK, false, false, LOOPBACK, 'recorded', []],
  [LOOPBACK, true, false, LOOPBACK, undefined, [CA]],
  [LOOPBACK, false, true, LOOPBACK, 'store', [SECOND_ROOT]],
  [LOOPBACK, true, true, LOOPBACK, undefined, [CA]],
];

describe('the registry of a cluster', () => {
  for (const [host, hasAgent, hasStore, server, user, ca] of STATES) {
    const ways = `${hasAgent ? 'a' : 'no'} CA of the agent and ${hasStore ? 'an' : 'no'} account of the store`;
    it(`recorded as ${host} is reached at ${server} as ${user ?? 'an anonymous client'}, with ${ways}`, () => {
      const recorded = recordedAs(`${host}/system/deckhouse`);
      const agentCa = hasAgent ? AGENT_CA : undefined;
      const registry = dial(recorded, { agentCa, store: hasStore ? STORE : undefined, storeOnRefusal: false });
      expect(registry.host).to.equal(host);
      expect(registry.dialled?.host ?? registry.host).to.equal(server);
      expect(userOf(registry.credential)).to.equal(user);
      expect(registry.scheme).to.equal('https');
      expect(registry.ca).to.deep.equal(ca);
      expect(registry.dialled?.trustsCaAlone).to.equal(ca.length === 0 ? undefined : user === undefined);
      expect(registry.dialled?.otherwise).to.equal(undefined);
      if (ca.length === 0) expect(registry).to.equal(recorded);
    });
  }

  it('is reached by HTTPS for each recorded scheme', () => {
    const { registry } = parseUpstream({ repo: `${SVC}/a`, scheme: 'HTTP' });
    for (const [agentCa, store] of [
      [AGENT_CA, undefined],
      [undefined, STORE],
    ] as const) {
      expect(dial(registry, { agentCa, store, storeOnRefusal: false }).scheme).to.equal('https');
    }
  });

  it('is reached at its store when the agent refuses a connection, if that is allowed and the account is complete', () => {
    const recorded = recordedAs(SVC);
    const ways = { agentCa: AGENT_CA, storeOnRefusal: true };
    const { dialled, credential } = dial(recorded, { ...ways, store: STORE });
    expect(credential).to.equal(ANONYMOUS);
    expect(dialled?.otherwise).to.include({ host: SVC, credential: STORE.credential });
    expect(dial(recorded, { ...ways, store: undefined }).dialled?.otherwise).to.equal(undefined);
  });

  for (const host of [
    'registry.d8-system.svc:50010',
    'registry.d8-system.svc',
    'registry.d8-system.svc.cluster.local:5001',
    'aregistry.d8-system.svc:5001',
    '127.0.0.1:50010',
    '127.0.0.1',
    '127.0.0.2:5001',
    'localhost:5001',
  ]) {
    it(`is not ${host}, which stays as it is recorded`, () => {
      const recorded = recordedAs(`${host}/system/deckhouse`);
      expect(isClusterRegistry(recorded)).to.equal(false);
      expect(dial(recorded, { agentCa: AGENT_CA, store: STORE, storeOnRefusal: true })).to.equal(recorded);
    });
  }
});
