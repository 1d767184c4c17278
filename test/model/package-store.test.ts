import { storeIsAsItsModel } from './store-property.ts';

describe('a store', () => {
  it('has the blobs of its model after arrivals, reads, evictions, damage, restarts and crashes', async function () {
    this.timeout(60_000);
    await storeIsAsItsModel({ sequences: 300, seed: Date.now() % 2 ** 31 });
  });
});
