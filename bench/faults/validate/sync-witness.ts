/** Preloaded into the service: records each file that it syncs, so that a simulated power loss can damage all others. */
import { openSync, readlinkSync, writeSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';

const journal = openSync(process.env['SYNC_JOURNAL'] ?? '', 'a');
const probe = await open(process.execPath);
const handles = Object.getPrototypeOf(probe) as FileHandle;
await probe.close();

for (const method of ['sync', 'datasync'] as const) {
  // eslint-disable-next-line @typescript-eslint/unbound-method -- called with the handle below
  const original = handles[method];
  handles[method] = async function (this: FileHandle): Promise<void> {
    await original.call(this);
    writeSync(journal, `${readlinkSync(`/proc/self/fd/${String(this.fd)}`)}\n`);
  };
}
