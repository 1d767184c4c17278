/** Text for parsers: such that they almost take, and such that a careless one would read for minutes. */
import fc from 'fast-check';

const PUMPED_LENGTH = 64 * 1024;
/** A linear parser needs less than one; a quadratic one more than a thousand. */
const MAX_CPU_MS = 50;
const ATTEMPTS = 3;

/** `text` with one to three mistakes: a piece that is missing, or one of `pieces` where there was none. */
export function nearMiss(text: fc.Arbitrary<string>, pieces: readonly string[]): fc.Arbitrary<string> {
  const mistake = fc.record({ at: fc.nat(), removed: fc.nat(2), added: fc.constantFrom('', ...pieces) });
  return fc.tuple(text, fc.array(mistake, { minLength: 1, maxLength: 3 })).map(([valid, mistakes]) =>
    mistakes.reduce((found, { at, removed, added }) => {
      const position = at % (found.length + 1);
      return found.slice(0, position) + added + found.slice(position + removed);
    }, valid),
  );
}

/** What `parse` gives; undefined when it throws the one error that it may throw. */
export function outcome<Value>(parse: () => Value, error: new (...args: never[]) => Error): Value | undefined {
  try {
    return parse();
  } catch (thrown) {
    if (thrown instanceof error) return undefined;
    throw thrown;
  }
}

/** 64 KiB of the same few of `pieces` again and again, between others, cost no more than reading them. */
export function expectLinear(pieces: readonly string[], parse: (text: string) => unknown): void {
  const some = (minLength: number): fc.Arbitrary<string> =>
    fc.array(fc.constantFrom(...pieces), { minLength, maxLength: 2 }).map((list) => list.join(''));
  const pumped = fc
    .tuple(some(0), some(1), some(0))
    .map(([start, pump, end]) => start + pump.repeat(PUMPED_LENGTH / pump.length) + end);
  fc.assert(
    fc.property(pumped, (text) => {
      const costs = [];
      do costs.push(cpuMs(() => parse(text)));
      while (costs.length < ATTEMPTS && Math.min(...costs) > MAX_CPU_MS);
      if (Math.min(...costs) > MAX_CPU_MS)
        throw new Error(`took ${costs.map(Math.round).join(', ')} ms of the processor`);
    }),
    { numRuns: 100 },
  );
}

/** Of this thread alone, whoever else has the machine meanwhile. */
function cpuMs(run: () => unknown): number {
  const before = process.threadCpuUsage();
  run();
  const { user, system } = process.threadCpuUsage(before);
  return (user + system) / 1000;
}
