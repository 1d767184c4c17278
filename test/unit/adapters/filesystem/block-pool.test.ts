import { expect } from 'chai';
import { BlockPool } from '../../../../src/adapters/filesystem/block-pool.ts';

describe('BlockPool', () => {
  const ignored = (): void => undefined;

  it('gives the blocks of closed files to the next files before it allocates others', () => {
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

  it('gives no block of a closed file to another file while a reader holds it', () => {
    const pool = new BlockPool();
    const held = pool.take(ignored);
    if (held === undefined) throw new Error('no block');
    pool.free(held);
    const others = new Set(Array.from({ length: 1000 }, () => pool.take(ignored)));
    expect(others.has(held)).to.equal(false);
    expect(pool.size).to.equal(64);
  });
});
