import { expect } from 'chai';
import type { ProviderEvent } from '../../../../src/adapters/kubernetes/kubernetes-credential-provider.ts';
import { RefusalEvents } from '../../../../src/adapters/kubernetes/refusal-events.ts';
import { InvalidUpstreamError } from '../../../../src/domain/upstream.ts';
import { eventually } from '../../../support/eventually.ts';
import { FakeKubeApi } from '../../../support/fake-kube-api.ts';

describe('RefusalEvents', () => {
  let api: FakeKubeApi;
  let errors: string[];
  let refusals: RefusalEvents;
  beforeEach(async () => {
    api = await FakeKubeApi.start();
    errors = [];
    refusals = new RefusalEvents({
      access: api.access,
      secretNamespace: 'd8-system',
      onError: (resource, object, error) => errors.push(`${resource} ${object} ${String(error)}`),
    });
  });
  afterEach(() => api.close());

  const invalid = (resource: ProviderEvent['resource'], object: string): ProviderEvent => ({
    kind: 'invalid',
    resource,
    object,
    uid: `uid of ${object}`,
    error: new InvalidUpstreamError('ca', 'is not PEM'),
  });
  const conflict = { kind: 'conflict', resource: 'modulesources', uid: 'u', winner: 'old' } as const;

  it('writes an Event on the object, in its namespace or in that of objects without one', async () => {
    refusals.observe(invalid('modulesources', 'modules'));
    refusals.observe(invalid('secrets', 'deckhouse-registry'));
    await eventually(() => {
      expect(api.events).to.have.lengthOf(2);
      return Promise.resolve();
    });
    const [source, secret] = api.events.toSorted((one, other) => (one.path < other.path ? 1 : -1));
    expect(source?.path).to.equal('/api/v1/namespaces/default/events');
    expect(source?.body).to.deep.include({ kind: 'Event', type: 'Warning', reason: 'RegistryInvalid' });
    expect(source?.body['message']).to.match(/^cannot be used; its previous state stays in use: .*not PEM/);
    expect(source?.body['involvedObject']).to.deep.equal({
      apiVersion: 'deckhouse.io/v1alpha1',
      kind: 'ModuleSource',
      name: 'modules',
      uid: 'uid of modules',
    });
    refusals.observe(invalid('packagerepositories', 'main'));
    await eventually(() => {
      expect(api.events[2]?.path).to.equal('/api/v1/namespaces/default/events');
      return Promise.resolve();
    });
    expect(api.events[2]?.body['involvedObject']).to.deep.include({
      apiVersion: 'deckhouse.io/v1alpha1',
      kind: 'PackageRepository',
      name: 'main',
    });
    expect(secret?.path).to.equal('/api/v1/namespaces/d8-system/events');
    expect(secret?.body['involvedObject']).to.deep.include({ kind: 'Secret', namespace: 'd8-system' });
  });

  it('names the winner of a conflict, and uses the same name for the Event of the same refusal', async () => {
    refusals.observe({ ...conflict, object: 'young', repository: 'a.example/m' });
    refusals.observe({ ...conflict, object: 'young', repository: 'a.example/m' });
    refusals.observe({ ...conflict, object: 'young', repository: '' });
    await eventually(() => {
      expect(api.events).to.have.lengthOf(3);
      return Promise.resolve();
    });
    const told = new Map(api.events.map(({ body }) => [body['message'], body['metadata']]));
    expect([...told.keys()]).to.have.members(['a.example/m belongs to old', 'the default registry belongs to old']);
  });

  it('ignores other events, accepts an existing Event, and reports a refused one', async () => {
    refusals.observe({ kind: 'changed', resource: 'secrets', objects: 1, rejected: 0 });
    api.eventStatus = 409;
    refusals.observe(invalid('secrets', 'a'));
    await eventually(() => {
      expect(api.events).to.have.lengthOf(1);
      return Promise.resolve();
    });
    api.eventStatus = 403;
    refusals.observe(invalid('secrets', 'b'));
    await eventually(() => {
      expect(errors).to.deep.equal(['secrets b ApiStatusError: Kubernetes API answered 403']);
      return Promise.resolve();
    });
  });
});
