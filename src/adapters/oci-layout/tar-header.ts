/** The headers of a tar archive (POSIX.1-2024, pax; GNU tar manual, "Basic Tar Format"). */
import { InvalidContentError } from '../../domain/errors.ts';

export const BLOCK = 512;

export interface TarHeader {
  readonly name: string;
  /** The content of an extension says something about the entry behind it. */
  readonly kind: 'file' | 'other' | 'pax' | 'long name' | 'other extension';
  /** Bytes of content. */
  readonly size: number;
}

/** An extension gives these to the entry behind it, in place of those in its header. */
export interface Extension {
  readonly name?: string;
  readonly size?: number;
}

/** Global records are for all entries, of which none can share a name or a size; `K` is the target of a link. */
const KINDS: Readonly<Record<string, TarHeader['kind']>> = {
  ...{ '0': 'file', '7': 'file', '\0': 'file' },
  ...{ x: 'pax', L: 'long name', K: 'other extension', g: 'other extension' },
};
/** Links, devices and directories have no content, also where their header has a size. */
const WITHOUT_CONTENT = '123456';

/** @throws InvalidContentError */
export function parseHeader(block: Buffer, extension: Extension): TarHeader {
  const sum = block.reduce((total, byte, index) => total + (index >= 148 && index < 156 ? 0x20 : byte), 0);
  if (octal(block.subarray(148, 156)) !== sum) throw new InvalidContentError('file is not a tar archive');
  const type = String.fromCharCode(block[156] ?? 0);
  const kind = KINDS[type] ?? 'other';
  const own = { name: nameOf(block), size: sizeOf(block.subarray(124, 136)) };
  if (kind !== 'file' && kind !== 'other') return { kind, ...own };
  const { name, size } = { ...own, ...extension };
  return { kind: name.endsWith('/') ? 'other' : kind, name, size: WITHOUT_CONTENT.includes(type) ? 0 : size };
}

function nameOf(block: Buffer): string {
  const name = textOf(block.subarray(0, 100));
  // GNU's own format has times in the place of the prefix, and another magic.
  const prefix = textOf(block.subarray(257, 263)) === 'ustar' ? textOf(block.subarray(345, 500)) : '';
  return prefix === '' ? name : `${prefix}/${name}`;
}

/** @throws InvalidContentError */
export function parseExtension(kind: TarHeader['kind'], content: Buffer): Extension {
  if (kind === 'long name') return { name: textOf(content) };
  return kind === 'pax' ? parsePax(content) : {};
}

/** Records `LENGTH KEY=VALUE\n`, where LENGTH counts all of the record. */
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
  const [name, size] = [records.get('path'), records.get('size')];
  return { ...(name !== undefined && { name }), ...(size !== undefined && { size: safe(Number(size)) }) };
}

/** Octal digits or, of 8 GiB and more, a number of 95 bits behind a set bit (GNU, star). */
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

/** The text before the first NUL. */
function textOf(field: Buffer): string {
  const end = field.indexOf(0);
  return field.toString('utf8', 0, end < 0 ? field.byteLength : end);
}
