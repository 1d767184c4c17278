/** Makes archives with any entries in any order, also those that no tar program writes. */

export interface ArchiveEntry {
  readonly path: string;
  /** A file when absent. */
  readonly kind?: 'file' | 'directory' | 'symlink' | 'hardlink';
  readonly content?: string | Uint8Array;
  /** The target of a link. */
  readonly target?: string;
}

const FLAGS = { file: '0', hardlink: '1', symlink: '2', directory: '5' };
const BLOCK = 512;

/** In the format ustar. */
export function archiveOf(...entries: readonly ArchiveEntry[]): Buffer {
  const parts = entries.flatMap(({ path, kind = 'file', content = '', target = '' }) => {
    const bytes = Buffer.from(content);
    const header = Buffer.alloc(BLOCK);
    header.write(path, 0, 100);
    header.write('0000644\0', 100);
    header.write(`${bytes.byteLength.toString(8).padStart(11, '0')}\0`, 124);
    header.fill(' ', 148, 156);
    header.write(FLAGS[kind], 156);
    header.write(target, 157, 100);
    header.write('ustar\x0000', 257);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    return [header, bytes, Buffer.alloc((BLOCK - (bytes.byteLength % BLOCK)) % BLOCK)];
  });
  return Buffer.concat([...parts, Buffer.alloc(2 * BLOCK)]);
}
