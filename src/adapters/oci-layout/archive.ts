/** An archive in the place of a layout: what `docker save` writes is a layout inside a tar. */
import { closeSync, openSync, readSync } from 'node:fs';
import { READ_FLAGS } from '../blobs/blob-file.ts';

/** Follows the name of an archive. */
export const NOT_UNPACKED = 'is an archive: unpack it into a directory first, as "tar -xf ARCHIVE -C DIRECTORY" does';

/** Where the magic of POSIX tar is, which Docker and Podman write. */
const TAR_MAGIC_AT = 257;
/** gzip and zstd, for archives that are compressed besides. */
const COMPRESSED = /^(?:\x1f\x8b|\x28\xb5\x2f\xfd)/;

/** By how a file begins; false when it cannot be read. */
export function isArchive(path: string): boolean {
  const head = Buffer.alloc(512);
  try {
    const file = openSync(path, READ_FLAGS);
    try {
      readSync(file, head);
    } finally {
      closeSync(file);
    }
  } catch {
    return false;
  }
  return (
    head.toString('latin1', TAR_MAGIC_AT, TAR_MAGIC_AT + 5) === 'ustar' || COMPRESSED.test(head.toString('latin1'))
  );
}
