import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const MODULE = new URL('../../../src/infrastructure/young-generation.ts', import.meta.url).href;

/** As thousands of requests that wait for 20 turns of the event loop; prints the largest size of the young generation, in bytes. */
const PROGRAM = `
  import { getHeapSpaceStatistics } from 'node:v8';
  import { boundYoungGeneration } from '${MODULE}';
  boundYoungGeneration();
  const size = () => getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space').space_size;
  const waiting = [];
  let most = 0;
  for (let turn = 0; turn < 400; turn++) {
    waiting.push(Array.from({ length: 5000 }, (_, index) => ({ index, turn })));
    if (waiting.length > 20) waiting.shift();
    await new Promise((resolve) => setImmediate(resolve));
    most = Math.max(most, size());
  }
  console.log(most);
`;

describe('boundYoungGeneration', () => {
  it('keeps the young generation near 16 MiB, however much survives', async () => {
    const args = ['--max-semi-space-size=64', '--input-type=module', '--eval', PROGRAM];
    const { stdout } = await promisify(execFile)(process.execPath, args);
    expect(Number(stdout)).to.be.within(4 * 1024 ** 2, 32 * 1024 ** 2);
  });
});
