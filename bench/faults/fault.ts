/** A fault: what is done to the service, what it must do about it, and what was seen. */
import type { FaultBench } from './fault-bench.ts';

export interface Fault {
  /** As `F1`: what `--only` takes. */
  readonly id: string;
  /** The fault, in words. */
  readonly what: string;
  /** The pass figure, in words. */
  readonly expected: string;
  /** How long it may take in the quick mode, in milliseconds, when that is longer than others may. */
  readonly limitMs?: number;
  /** Runs only when it is named. */
  readonly isExtra?: boolean;
  /**
   * Injects it. `FaultBench` finds wrong answers, and faults of the service at rest,
   * during each fault and after it. A rejection is a violation too.
   */
  run(bench: FaultBench): Promise<Seen>;
}

export interface Seen {
  /** How often the fault was injected: resets, wrong answers, kills, clients that left, … */
  readonly injected: number;
  /** The measurements, in words and figures. */
  readonly figures: string;
  /** In sentences, what was not as expected; empty when all was. */
  readonly violations: readonly string[];
}
