/** Kernel memory of the TCP sockets of a process, which cgroup v2 charges to its container, as `ss` of iproute2 reports it. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);
/** The unit of proc(5): the size of a page on the machines that this bench supports. */
const PAGE_BYTES = 4096;
const MAX_OUTPUT = 64 * 1024 * 1024;

/** The bytes of each process id; undefined without `ss`. */
export async function socketBytes(): Promise<ReadonlyMap<number, number> | undefined> {
  try {
    const { stdout } = await run('ss', ['-tmnpOH'], { maxBuffer: MAX_OUTPUT });
    const bytes = new Map<number, number>();
    for (const line of stdout.split('\n')) {
      const pid = Number(/pid=(\d+)/.exec(line)?.[1] ?? 0);
      bytes.set(pid, (bytes.get(pid) ?? 0) + bytesOf(line));
    }
    return bytes;
  } catch {
    return undefined;
  }
}

/** `r`: received and not read, `w`: queued to send, `f`: reserved for either (ss(8), `--memory`). */
function bytesOf(line: string): number {
  const [, received = 0, reserved = 0, queued = 0] = /skmem:\(r(\d+),.*,f(\d+),w(\d+),/.exec(line) ?? [];
  return Number(received) + Number(reserved) + Number(queued);
}

/** The memory of all TCP sockets of the machine; undefined if the system does not report it. */
export async function hostSocketBytes(): Promise<number | undefined> {
  const text = await readFile('/proc/net/sockstat', 'utf8').catch(() => '');
  const pages = /^TCP: .*\bmem (\d+)/m.exec(text)?.[1];
  return pages === undefined ? undefined : Number(pages) * PAGE_BYTES;
}
