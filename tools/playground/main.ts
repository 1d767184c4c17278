/**
 * `npm run playground`: runs a cluster of real programs without containers, with the chart installed, until Ctrl-C. The programs
 * run in a separate session, so that Ctrl-C reaches only this process, which ends them in order.
 */
import { fork } from 'node:child_process';
import { join } from 'node:path';

const child = fork(join(import.meta.dirname, 'session.ts'), { detached: true });
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    // A second signal has no further effect.
    if (child.connected) child.disconnect();
  });
}
child.once('exit', (code) => {
  process.exitCode = code ?? 1;
});
