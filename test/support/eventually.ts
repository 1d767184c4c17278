/** For what becomes true by itself a moment later, in another process most of all. */
const DEADLINE_MS = 5000;
const INTERVAL_MS = 10;

/** Resolves when `check` no longer throws; rejects with what it throws when the deadline has come. */
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
