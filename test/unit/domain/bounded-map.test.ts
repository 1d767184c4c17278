import { expect } from 'chai';
import { BoundedMap } from '../../../src/domain/bounded-map.ts';

describe('BoundedMap', () => {
  it('drops its oldest entry when it is full', () => {
    const map = new BoundedMap<string, number>(2).set('a', 1).set('b', 2).set('c', 3);
    expect([...map]).to.deep.equal([
      ['b', 2],
      ['c', 3],
    ]);
  });

  it('keeps all other entries when one is set again, which becomes the latest', () => {
    const map = new BoundedMap<string, number>(2).set('a', 1).set('b', 2).set('a', 3);
    expect([...map]).to.deep.equal([
      ['b', 2],
      ['a', 3],
    ]);
    expect([...map.set('c', 4).keys()]).to.deep.equal(['a', 'c']);
  });
});
