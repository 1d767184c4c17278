/** A fault: what is done to the service, what it must do about it, and what was seen. */
import type { FaultBench } from './fault-bench.ts';

export interface Fault {
  /** As `F1`: what `--only` takes. */
  readonly id: string;
  /** What is done, in words. */
  readonly what: string;
  /** The pass figure, in words. */
  readonly expected: string;
  /** How long it may take in the quick mode, in milliseconds, when that is longer than others may. */
  readonly limitMs?: number;
  /** Only for who asks for it by its name. */
  readonly isExtra?: boolean;
  /**
   * Injects it. What is wrong with an answer or with the service at rest need not be looked for here: `FaultBench` does,
   * during each fault and after it. A rejection is a violation too.
   */
  run(bench: FaultBench): Promise<Seen>;
}

export interface Seen {
  /** How often the fault was injected: resets, wrong answers, kills, clients that left, … */
  readonly injected: number;
  /** What was measured, in words and figures. */
  readonly figures: string;
  /** In sentences, what was not as expected; empty when all was. */
  readonly violations: readonly string[];
}
