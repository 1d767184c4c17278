/**
 * `npm run playground`: a cluster of real parts without containers, with the chart installed, until Ctrl-C. The parts run in a
 * session of their own, so that a Ctrl-C reaches none of them before this process ends them in their order.
 */
import { fork } from 'node:child_process';
import { join } from 'node:path';

const child = fork(join(import.meta.dirname, 'session.ts'), { detached: true });
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    // A second signal is no hurry: the parts are ending.
    if (child.connected) child.disconnect();
  });
}
child.once('exit', (code) => {
  process.exitCode = code ?? 1;
});
