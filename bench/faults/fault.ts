/** A fault: an injection, the behaviour that the service must show, and the results of a run. */
import type { FaultBench } from './fault-bench.ts';

export interface Fault {
  /** For example `F1`; the value of `--only`. */
  readonly id: string;
  /** The description of the fault, in sentences. */
  readonly what: string;
  /** The required behaviour, in sentences. */
  readonly expected: string;
  /** The time limit in the quick mode in milliseconds, if it is longer than usual. */
  readonly limitMs?: number;
  /** The fault runs only if `--only` names it. */
  readonly isExtra?: boolean;
  /**
   * Injects the fault. During the fault `FaultBench` checks all answers, and after it the service at rest. A rejection is a
   * violation, too.
   */
  run(bench: FaultBench): Promise<Seen>;
}

export interface Seen {
  /** The number of injections: resets, wrong answers, kills, clients that left, … */
  readonly injected: number;
  /** The measurements, for the report. */
  readonly figures: string;
  /** A sentence for each deviation from the required behaviour. */
  readonly violations: readonly string[];
}
