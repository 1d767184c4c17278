/** Files that a power loss leaves old or new, and never in between. */
import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

/** A reader finds the old text or the new one, after a crash too. Rejects with the error of the file system. */
export async function replaceFile(path: string, text: string, mode = 0o666): Promise<void> {
  const fresh = `${path}.new`;
  // A killed process can leave this file, and another user can lay a link here: a new file follows neither.
  await rm(fresh, { force: true });
  const file = await open(fresh, 'wx', mode);
  try {
    await file.writeFile(text);
    await file.sync();
    await rename(fresh, path);
  } catch (error) {
    await rm(fresh, { force: true });
    throw error;
  } finally {
    await file.close();
  }
  await syncDirectory(dirname(path));
}

/** The names in it; a file system that cannot do this keeps them anyway, or has nothing to sync. */
export async function syncDirectory(path: string): Promise<void> {
  try {
    const directory = await open(path);
    await directory.sync().finally(() => directory.close());
  } catch {
    // See above.
  }
}
