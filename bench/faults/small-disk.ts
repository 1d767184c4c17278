/** Real file systems of a few megabytes, for what only a full disk does. */
import { execFileSync } from 'node:child_process';
import type { FaultBench } from './fault-bench.ts';

/** A mounted folder; the reason, where nothing can be mounted. Unmounted when the fault is over. */
export async function mountSmallDisk(
  bench: FaultBench,
  bytes: number,
): Promise<{ readonly path: string } | { readonly reason: string }> {
  const path = await bench.workspace.folder('disk');
  try {
    mount('-t', 'tmpfs', '-o', `size=${String(bytes)},mode=700`, 'tmpfs', path);
  } catch (error) {
    return { reason: error instanceof Error ? (error.message.split('\n').at(-2) ?? error.message) : String(error) };
  }
  bench.onClear(() => {
    execFileSync('umount', ['--lazy', path], { stdio: 'pipe' });
  });
  return { path };
}

function mount(...args: string[]): void {
  execFileSync('mount', args, { stdio: 'pipe' });
}
