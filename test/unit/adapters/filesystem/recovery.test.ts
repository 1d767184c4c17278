import { expect } from 'chai';
import fc from 'fast-check';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Layout } from '../../../../src/adapters/filesystem/layout.ts';
import { Ledger } from '../../../../src/adapters/filesystem/ledger.ts';
import { scan } from '../../../../src/adapters/filesystem/recovery.ts';
import { expectLinear, nearMiss } from '../../../support/hostile-text.ts';

const PIECES = [
  'a',
  'A',
  'g',
  '0',
  '.',
  '..',
  '-',
  ':',
  '%2f',
  '\\',
  ' ',
  '\n',
  '\t',
  '~',
  'ä',
  '٠',
  '\u{1f4e6}',
  '__proto__',
];
const HEX_DIGITS = Array.from('0123456789abcdef');
const hex = fc.array(fc.constantFrom(...HEX_DIGITS), { minLength: 64, maxLength: 64 }).map((digits) => digits.join(''));
const isHex = (name: string): boolean =>
  name.length === 64 && Array.from(name).every((digit) => HEX_DIGITS.includes(digit));

const names = fc.oneof(hex, nearMiss(hex, PIECES), fc.string({ unit: 'binary', minLength: 1, maxLength: 60 }));

describe('scan', () => {
  let directory: string;
  let layout: Layout;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'recovery-'));
    layout = new Layout(directory);
  });
  afterEach(() => {
    rmSync(directory, { recursive: true });
  });

  it('enters files that are named by a digest, whatever else lies beside them', async () => {
    const name = names
      .filter((text) => !/[/\0]/.test(text) && text !== '.' && text !== '..' && Buffer.byteLength(text) <= 255)
      // What UTF-8 cannot write, a directory cannot either.
      .filter((text) => text.isWellFormed());
    const entry = fc.tuple(name, fc.constantFrom('file', 'directory', 'link'), fc.nat(99));
    const entries = fc.uniqueArray(entry, { selector: ([text]) => text, maxLength: 5 });
    await fc.assert(
      fc.asyncProperty(entries, async (list) => {
        rmSync(layout.blobs, { recursive: true, force: true });
        mkdirSync(layout.blobs, { recursive: true });
        for (const [text, kind, size] of list) {
          const path = join(layout.blobs, text);
          if (kind === 'file') writeFileSync(path, new Uint8Array(size));
          else if (kind === 'directory') mkdirSync(path);
          else symlinkSync('/etc/hostname', path);
        }
        const ledger = new Ledger(1e9);
        await scan(layout, ledger);
        const found = ledger.list().map(({ digest, size }) => [digest, size]);
        const expected = list
          .filter(([text, kind]) => kind === 'file' && isHex(text))
          .map(([text, , size]) => [`sha256:${text}`, size]);
        expect(found).to.have.deep.members(expected);
      }),
    );
  });

  it('tells digests from other names, and in linear time', () => {
    fc.assert(
      fc.property(names, (name) => {
        expect(layout.digestOfName(name)).to.equal(isHex(name) ? `sha256:${name}` : undefined);
      }),
    );
    expectLinear(PIECES, (name) => layout.digestOfName(name));
  });
});
