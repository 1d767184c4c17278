/** The default deadline for conditions that another process makes true. */
const DEADLINE_MS = 5000;
const INTERVAL_MS = 10;

/** Repeats `check` until it succeeds; rejects with its last error at the deadline. */
export async function eventually(check: () => Promise<unknown>, deadlineMs = DEADLINE_MS): Promise<void> {
  const deadline = performance.now() + deadlineMs;
  for (;;) {
    try {
      await check();
      return;
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, INTERVAL_MS));
    }
  }
}
