/** Texts for parsers: some are almost valid, and some need minutes in a parser with backtracking. */
import fc from 'fast-check';

const LENGTH = 64 * 1024;
/** A linear parser needs less than one, and a quadratic one more than a thousand. */
const MAX_CPU_MS = 50;
/** The largest ratio to the time for a quarter of the text: a linear parser needs four times as much, a quadratic one 16. */
const MAX_RATIO = 10;
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

/** The result of `parse`; undefined when it throws the one error that it may throw. */
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
  fc.assert(
    fc.property(some(0), some(1), some(0), (start, pump, end) => {
      const cost = (length: number): number => {
        const text = start + pump.repeat(length / pump.length) + end;
        return cpuMs(() => parse(text));
      };
      const costs: string[] = [];
      while (costs.length < ATTEMPTS) {
        const [quarter, whole] = [cost(LENGTH / 4), cost(LENGTH)];
        if (whole <= Math.max(MAX_CPU_MS, MAX_RATIO * quarter)) return;
        costs.push(`${quarter.toFixed()} ms and ${whole.toFixed()} ms`);
      }
      throw new Error(`16 KiB and 64 KiB took ${costs.join(', ')} of the processor`);
    }),
    { numRuns: 100 },
  );
}

/** The CPU time of this thread alone, on a busy machine too. */
function cpuMs(run: () => unknown): number {
  const before = process.threadCpuUsage();
  run();
  const { user, system } = process.threadCpuUsage(before);
  return (user + system) / 1000;
}
