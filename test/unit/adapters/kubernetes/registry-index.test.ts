import { expect } from 'chai';
import type { RawObject } from '../../../../src/adapters/kubernetes/object-source.ts';
import { type IndexEvent, RegistryIndex } from '../../../../src/adapters/kubernetes/registry-index.ts';
import { parseModuleSource, readSpecRegistry } from '../../../../src/adapters/kubernetes/registry-objects.ts';
import { parseRepositoryName } from '../../../../src/domain/reference.ts';

const NAME = parseRepositoryName('a.example/m');

function moduleSource(registry: unknown, rest: object = {}): RawObject {
  return { metadata: { uid: '1', name: 'a', creationTimestamp: '2026-11-24T08:00:00Z' }, spec: { registry, ...rest } };
}

describe('RegistryIndex', () => {
  let events: IndexEvent[];
  let index: RegistryIndex;
  beforeEach(() => {
    events = [];
    index = new RegistryIndex(readSpecRegistry, parseModuleSource, (event) => events.push(event));
  });
  const update = (object: RawObject): void => {
    index.update(new Map([['1', object]]));
  };

  it('keeps a registry with its connections and tokens when other fields of its object change', () => {
    update(moduleSource({ repo: NAME }, { releaseChannel: 'Stable' }));
    const upstream = index.find(NAME);
    expect(upstream).not.to.equal(undefined);
    update(moduleSource({ repo: NAME }, { releaseChannel: 'Alpha' }));
    expect(index.find(NAME)).to.equal(upstream);
    update(moduleSource({ repo: NAME, scheme: 'HTTP' }));
    expect(index.find(NAME)?.registry.scheme).to.equal('http');
  });

  it('parses only the changed object', () => {
    const read: string[] = [];
    const counting = new RegistryIndex(
      (object) => {
        const fields = readSpecRegistry(object);
        read.push(fields.repo);
        return fields;
      },
      parseModuleSource,
      () => undefined,
    );
    const objects = new Map(
      ['a', 'b', 'c'].map((name) => [name, moduleSource({ repo: `${name}.example/m` })] as const),
    );
    counting.update(objects);
    counting.update(new Map([...objects, ['b', moduleSource({ repo: 'b.example/m' }, { releaseChannel: 'Alpha' })]]));
    expect(read).to.deep.equal(['a.example/m', 'b.example/m', 'c.example/m', 'b.example/m']);
  });

  it('handles an object that is nested too deep for JSON.stringify', () => {
    const depth = 100_000;
    update(moduleSource({ repo: NAME }, { deep: JSON.parse('['.repeat(depth) + ']'.repeat(depth)) as unknown }));
    expect(index.find(NAME)).not.to.equal(undefined);
  });

  for (const [what, registry] of [
    ['that is no text', { repo: [] }],
    ['that is no repository', { repo: 'a.example/M' }],
  ] as const) {
    it(`reports once a field ${what}, and keeps the previous state`, () => {
      update(moduleSource({ repo: NAME }));
      const upstream = index.find(NAME);
      for (let times = 0; times < 3; times++) update(moduleSource(registry));
      expect(events.map(({ kind, object }) => [kind, object])).to.deep.equal([['invalid', 'a']]);
      expect(index.find(NAME)).to.equal(upstream);
      update(moduleSource({ repo: NAME }));
      update(moduleSource(registry));
      expect(events).to.have.lengthOf(2);
    });
  }
});
