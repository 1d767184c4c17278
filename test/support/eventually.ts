/** For what becomes true by itself a moment later, in another process most of all. */
const DEADLINE_MS = 5000;
const INTERVAL_MS = 10;

/** Resolves when `check` no longer throws; rejects with what it throws when the deadline has come. */
export async function eventually(check: () => Promise<unknown>): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
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
