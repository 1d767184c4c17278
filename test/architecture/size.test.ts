import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { ROOT } from './source-files.ts';

describe('the size of the house', () => {
  /** The rows of `npm run house:size`. */
  const sizes = new Map<string, { readonly lines: number; readonly namesPer1000Lines: number }>();
  before(function () {
    // The compiler parses all sources, which takes 10 s on a busy machine.
    this.timeout(60_000);
    const table = execFileSync(process.execPath, [join(ROOT, 'tools/house-size.ts')], { encoding: 'utf8' });
    for (const row of table.trim().split('\n').slice(1)) {
      const [room = '', , lines, , names] = row.split(/ +/);
      sizes.set(room, { lines: Number(lines), namesPer1000Lines: Number(names) });
    }
  });

  it('has only the wiring in infrastructure', () => {
    expect(sizes.get('src/infrastructure')?.lines).to.be.within(1, 2000);
  });

  it('exports few names for its number of lines', () => {
    expect(sizes.get('src')?.namesPer1000Lines).to.be.within(1, 29);
  });
});
