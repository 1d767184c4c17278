import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

const ROOT = join(import.meta.dirname, '../..');

describe('docs/scaling.md', () => {
  // 20 000 nodes take seconds for each design.
  it('has the tables that the simulation prints by the rates of docs/performance.md', async () => {
    await promisify(execFile)(process.execPath, [join(ROOT, 'bench/fleet/main.ts'), '--check']);
  }).timeout(300_000);
});
