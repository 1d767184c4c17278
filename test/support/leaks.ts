/** Fails the run when a test leaves a socket, server, child process or timer behind: mocha would wait for it forever. */
export const mochaHooks = {
  beforeAll(): void {
    baseline = count(process.getActiveResourcesInfo());
  },
  async afterAll(): Promise<void> {
    const deadline = Date.now() + 5000;
    let left = leftovers();
    while (left.length > 0 && Date.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      left = leftovers();
    }
    if (left.length > 0) throw new Error(`left behind by the tests: ${left.join(', ')}`);
  },
};

/** Resources that a test can leave behind, unlike mocha's time-out, the pipes of its output and idle threads of the pool. */
const OURS = ['TCPSocketWrap', 'TCPServerWrap', 'TLSWrap', 'ProcessWrap', 'FSEventWrap', 'FSReqPromise', 'Immediate'];

let baseline = new Map<string, number>();

function leftovers(): string[] {
  const now = count(process.getActiveResourcesInfo());
  return OURS.flatMap((type) => {
    const extra = (now.get(type) ?? 0) - (baseline.get(type) ?? 0);
    return extra > 0 ? [`${String(extra)} ${type}`] : [];
  });
}

function count(types: string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const type of types) counts.set(type, (counts.get(type) ?? 0) + 1);
  return counts;
}
