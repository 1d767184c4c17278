import { expect } from 'chai';
import { BlockPool } from '../../../../src/adapters/filesystem/block-pool.ts';

describe('BlockPool', () => {
  const ignored = (): void => undefined;

  it('reuses the blocks of closed files before it allocates new ones', () => {
    const pool = new BlockPool();
    for (let file = 0; file < 600; file++) {
      const blocks = [pool.take(ignored), pool.take(ignored)];
      for (const block of blocks) {
        if (block === undefined) throw new Error('no block');
        block.holders--;
        pool.free(block);
      }
    }
    expect(pool.size).to.equal(2);
  });

  it('does not reuse a block of a closed file while a reader holds it', () => {
    const pool = new BlockPool();
    const held = pool.take(ignored);
    if (held === undefined) throw new Error('no block');
    pool.free(held);
    const others = new Set(Array.from({ length: 1000 }, () => pool.take(ignored)));
    expect(others.has(held)).to.equal(false);
    expect(pool.size).to.equal(64);
  });
});
