/** The headers of a tar archive (POSIX.1-2024, pax; GNU tar manual, "Basic Tar Format"). */
import { InvalidContentError } from './errors.ts';

export const BLOCK = 512;
/** The limit for a long name or a pax header. */
export const MAX_EXTENSION_BYTES = 1024 * 1024;

type Extending = 'pax' | 'long name' | 'other extension';

export interface TarHeader {
  readonly name: string;
  /**
   * `other` is the kind of links, devices and sparse files; the content of the extending kinds describes the following
   * entry.
   */
  readonly kind: 'file' | 'directory' | 'other' | Extending;
  /** The size of the content in bytes. */
  readonly size: number;
}

/** Values for the following entry, which replace those of its header. */
export interface Extension {
  /** The name of a GNU header, which takes precedence over all others. */
  readonly longName?: string;
  readonly name?: string;
  readonly size?: number;
  /** The content is a map and the data between the holes, instead of the file. */
  readonly isSparse?: true;
}

/** Global records apply to all entries, which cannot share a name or a size; `K` is the target of a link. */
const KINDS: Readonly<Record<string, TarHeader['kind']>> = {
  ...{ '0': 'file', '7': 'file', '\0': 'file', '5': 'directory' },
  ...{ x: 'pax', L: 'long name', K: 'other extension', g: 'other extension' },
};
/** Links, devices and directories have no content, even if their header has a size. */
const WITHOUT_CONTENT = '123456';

/** @throws InvalidContentError */
export function parseHeader(block: Buffer, extension: Extension): TarHeader {
  checkSum(block);
  const type = String.fromCharCode(block[156] ?? 0);
  const kind = KINDS[type] ?? 'other';
  const own = { name: nameOf(block), size: sizeOf(block.subarray(124, 136)) };
  if (isExtending(kind)) return { kind, ...own };
  // More of the map follows, which is not part of the size (GNU tar manual, "Old GNU Format").
  if (type === 'S' && block[482] !== 0) throw new InvalidContentError('archive has a sparse file of an old format');
  const { longName, size, isSparse, ...named } = { ...own, ...extension };
  const name = longName ?? named.name;
  const isDirectory = kind === 'file' && name.endsWith('/');
  return {
    kind: isSparse === true ? 'other' : isDirectory ? 'directory' : kind,
    name,
    size: WITHOUT_CONTENT.includes(type) ? 0 : size,
  };
}

export function isExtending(kind: TarHeader['kind']): kind is Extending {
  return kind === 'pax' || kind === 'long name' || kind === 'other extension';
}

/** Verifies the sum of all bytes, in which the checksum field counts as blanks; old programs added signed bytes. */
function checkSum(block: Buffer): void {
  let [unsigned, signed] = [0, 0];
  for (let index = 0; index < BLOCK; index++) {
    const counted = index >= 148 && index < 156 ? 0x20 : (block[index] ?? 0);
    unsigned += counted;
    signed += counted < 0x80 ? counted : counted - 0x100;
  }
  const claimed = octal(block.subarray(148, 156));
  if (claimed !== unsigned && claimed !== signed) throw new InvalidContentError('file is not a tar archive');
}

function nameOf(block: Buffer): string {
  const name = textOf(block.subarray(0, 100));
  // GNU's format has times instead of the prefix, and a different magic.
  const prefix = textOf(block.subarray(257, 263)) === 'ustar' ? textOf(block.subarray(345, 500)) : '';
  return prefix === '' ? name : `${prefix}/${name}`;
}

/** Adds one header to the extension of an entry; the last header of each kind counts. @throws InvalidContentError */
export function parseExtension(kind: Extending, content: Buffer, { longName, ...before }: Extension): Extension {
  if (kind === 'long name') return { ...before, longName: textOf(content) };
  return { ...(longName !== undefined && { longName }), ...(kind === 'pax' ? parsePax(content) : before) };
}

/** Parses records `LENGTH KEY=VALUE\n`, where LENGTH is the length of the whole record. */
function parsePax(content: Buffer): Extension {
  const records = new Map<string, string>();
  for (let at = 0; at < content.byteLength;) {
    const [, length = ''] = /^(\d{1,7}) /.exec(content.toString('latin1', at, at + 8)) ?? [];
    const record = content.subarray(at + length.length + 1, at + Number(length));
    const [, key, value] = /^([^=]+)=(.*)\n$/s.exec(record.toString()) ?? [];
    const isWhole = at + Number(length) <= content.byteLength;
    if (!isWhole || key === undefined || value === undefined) {
      throw new InvalidContentError('archive has a broken pax header');
    }
    records.set(key, value);
    at += Number(length);
  }
  // An empty value means the value of the header.
  const [name = '', size = ''] = [records.get('path'), records.get('size')];
  return {
    ...(name !== '' && { name }),
    ...(size !== '' && { size: safe(/^\d+$/.test(size) ? Number(size) : NaN) }),
    ...(records.keys().some((key) => key.startsWith('GNU.sparse.')) && { isSparse: true }),
  };
}

/** Parses octal digits or, for 8 GiB and more, a number of 95 bits after a set bit (GNU, star). */
function sizeOf(field: Buffer): number {
  const [first = 0] = field;
  if ((first & 0x80) === 0) return octal(field);
  return safe(field.subarray(1).reduce((value, byte) => value * 256 + byte, first & 0x7f));
}

function octal(field: Buffer): number {
  const text = textOf(field).trim();
  return safe(/^[0-7]*$/.test(text) ? Number(`0o0${text}`) : NaN);
}

function safe(size: number): number {
  if (Number.isSafeInteger(size) && size >= 0) return size;
  throw new InvalidContentError('file is not a tar archive');
}

/** Returns the text before the first NUL. */
function textOf(field: Buffer): string {
  const end = field.indexOf(0);
  return field.toString('utf8', 0, end < 0 ? field.byteLength : end);
}
