/** Real file systems of a few megabytes, for faults that only a full disk has. */
import { execFileSync } from 'node:child_process';
import { writeFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import type { FaultBench } from '../fault-bench.ts';

/** A mounted folder, or the reason why it cannot be mounted. */
type Disk = { readonly path: string } | { readonly reason: string };

/** Mounts a tmpfs until the end of the fault. */
export function mountSmallDisk(bench: FaultBench, bytes: number): Promise<Disk> {
  return mounted(bench, (path) => {
    run('mount', '-t', 'tmpfs', '-o', `size=${String(bytes)},mode=700`, 'tmpfs', path);
  });
}

/** Mounts XFS on a loop device until the end of the fault. */
export function mountXfs(bench: FaultBench, bytes: number): Promise<Disk> {
  return mounted(bench, async (path) => {
    const image = join(await bench.workspace.folder('image'), 'xfs');
    writeFileSync(image, '');
    truncateSync(image, bytes);
    run('mkfs.xfs', '-q', image);
    run('mount', '-o', 'loop', image, path);
  });
}

async function mounted(bench: FaultBench, mount: (path: string) => void | Promise<void>): Promise<Disk> {
  const path = await bench.workspace.folder('disk');
  try {
    await mount(path);
  } catch (error) {
    return { reason: reasonOf(error) };
  }
  bench.onClear(() => {
    run('umount', '--lazy', path);
  });
  return { path };
}

function run(program: string, ...args: string[]): void {
  execFileSync(program, args, { stdio: 'pipe' });
}

/** The first line that the program printed, or a message that it is not installed. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if ('code' in error && error.code === 'ENOENT') return 'mkfs.xfs (xfsprogs) is not installed';
  return error.message.split('\n').at(1) ?? error.message;
}
