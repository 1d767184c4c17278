import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const MODULE = new URL('../../../src/infrastructure/engine-memory.ts', import.meta.url).href;

/** As thousands of requests that wait for some turns of the event loop; prints the largest size of a generation in the second half. */
const program = (call: string, space: string, figure: string, waitingTurns: number, turns: number): string => `
  import { getHeapSpaceStatistics } from 'node:v8';
  import { boundOldGeneration, boundYoungGeneration } from '${MODULE}';
  ${call};
  const size = () => getHeapSpaceStatistics().find(({ space_name }) => space_name === '${space}').${figure};
  const waiting = [];
  let most = 0;
  for (let turn = 0; turn < ${String(turns)}; turn++) {
    waiting.push(Array.from({ length: 5000 }, (_, index) => ({ index, turn })));
    if (waiting.length > ${String(waitingTurns)}) waiting.shift();
    await new Promise((resolve) => setImmediate(resolve));
    if (turn > ${String(turns / 2)}) most = Math.max(most, size());
  }
  console.log(most);
`;

async function run(text: string, maxSemiSpace: number): Promise<number> {
  const args = [`--max-semi-space-size=${String(maxSemiSpace)}`, '--input-type=module', '--eval', text];
  return Number((await promisify(execFile)(process.execPath, args)).stdout);
}

describe('boundYoungGeneration', () => {
  it('keeps the young generation near 16 MiB, however much survives', async () => {
    const most = await run(program('boundYoungGeneration(() => false)', 'new_space', 'space_size', 20, 400), 64);
    expect(most).to.be.within(4 * 1024 ** 2, 32 * 1024 ** 2);
  });

  it('keeps it near 2 MiB while many requests wait', async () => {
    const most = await run(program('boundYoungGeneration(() => true)', 'new_space', 'space_size', 20, 400), 64);
    // Two steps in one turn make 8 MiB and a page of it. Without the bound for many requests it is 16 MiB.
    expect(most).to.be.at.most(12 * 1024 ** 2);
  });
});

describe('boundOldGeneration', () => {
  it('collects an old generation that grows by half, while V8 would let it treble', async () => {
    const most = await run(program('boundOldGeneration()', 'old_space', 'space_used_size', 10, 3000), 4);
    expect(most).to.be.below(24 * 1024 ** 2);
  });
});

describe('skipMaglev', () => {
  // Bits of the answer of V8's %GetOptimizationStatus (src/runtime/runtime.h).
  const MAGLEV = 1 << 5;
  const TURBOFAN = 1 << 6;
  const hotFunction = (call: string): string => `
    import { skipMaglev } from '${MODULE}';
    ${call};
    function sum(end) {
      let total = 0;
      for (let index = 0; index < end; index++) total += index;
      return total;
    }
    let status = 0;
    for (let turn = 0; turn < 1000 && !(status & ${String(TURBOFAN)}); turn++) {
      for (let index = 0; index < 1000; index++) {
        sum(100);
        status |= %GetOptimizationStatus(sum);
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
    console.log(status);
  `;

  async function compilersOf(call: string): Promise<number> {
    const args = ['--allow-natives-syntax', '--input-type=module', '--eval', hotFunction(call)];
    return Number((await promisify(execFile)(process.execPath, args)).stdout) & (MAGLEV | TURBOFAN);
  }

  it('lets only TurboFan optimize a hot function', async () => {
    expect(await compilersOf('skipMaglev()')).to.equal(TURBOFAN);
  });

  it('is needed, because V8 gives a hot function to Maglev first', async () => {
    expect(await compilersOf('')).to.equal(MAGLEV | TURBOFAN);
  });
});
