import { expect } from 'chai';
import fc from 'fast-check';
import { parseQuantity } from '../../../src/domain/quantity.ts';
import { expectLinear, nearMiss } from '../../support/hostile-text.ts';

const UNITS: [unit: string, factor: bigint][] = [
  ['', 1n],
  ...['k', 'M', 'G', 'T', 'P'].map((unit, power): [string, bigint] => [unit, 1000n ** BigInt(power + 1)]),
  ...['Ki', 'Mi', 'Gi', 'Ti', 'Pi'].map((unit, power): [string, bigint] => [unit, 1024n ** BigInt(power + 1)]),
];
const PIECES = ['0', '9', '.', 'e', 'E', '+', '-', 'k', 'M', 'Gi', 'i', 'm', ' ', ',', '0x', '٣', '9007199254740991'];

describe('parseQuantity', () => {
  const cases: [text: string, bytes: number | undefined][] = [
    ['0', 0],
    ['1024', 1024],
    ['1Gi', 1073741824],
    ['1G', 1000000000],
    ['1.5Ki', 1536],
    ['.5k', 500],
    ['1e3', 1000],
    ['5E2', 500],
    ['1.0001Ki', 1025],
    ['2.007k', 2007],
    ['1.', 1],
    ['1.e3', 1000],
    ['15e-1', 2],
    ['0e99', 0],
    ['9007199254740991', 9007199254740991],
    ['8191.999999999Ti', 9007199254739893],
    ['8192Ti', undefined],
    ['1e3k', undefined],
    ['1.1.1', undefined],
    [' 2Mi ', 2097152],
    ['', undefined],
    ['Gi', undefined],
    ['-1', undefined],
    ['1 Gi', undefined],
    ['1gi', undefined],
    ['1Zi', undefined],
    ['1e99', undefined],
    ['0x10', undefined],
    ['9007199254740993', undefined],
  ];
  for (const [text, bytes] of cases) {
    it(`reads "${text}" as ${String(bytes)}`, () => {
      expect(parseQuantity(text)).to.equal(bytes);
    });
  }

  it('reads any size, and rounds up to a whole byte', () => {
    const fractions = fc.option(fc.stringMatching(/^\d{1,9}$/), { nil: '' });
    fc.assert(
      fc.property(fc.nat(1e9), fractions, fc.constantFrom(...UNITS), (whole, fraction, [unit, factor]) => {
        const divisor = 10n ** BigInt(fraction.length);
        const exact = BigInt(`${String(whole)}${fraction}`) * factor;
        const bytes = Number(exact / divisor + (exact % divisor === 0n ? 0n : 1n));
        const text = `${String(whole)}${fraction === '' ? '' : `.${fraction}`}${unit}`;
        expect(parseQuantity(text)).to.equal(Number.isSafeInteger(bytes) ? bytes : undefined);
      }),
    );
    fc.assert(
      fc.property(fc.maxSafeNat(), (bytes) => {
        expect(parseQuantity(String(bytes))).to.equal(bytes);
      }),
    );
  });

  it('returns a valid size or undefined for any text', () => {
    const near = nearMiss(fc.constantFrom('1Gi', '1.5Ki', '.5k', '1e3', '500M', '15e-1'), PIECES);
    fc.assert(
      fc.property(fc.oneof(near, fc.string({ unit: 'binary' })), (text) => {
        const bytes = parseQuantity(text);
        if (bytes === undefined) return;
        expect(Number.isSafeInteger(bytes) && bytes >= 0).to.equal(true);
        expect(text.trim()).to.match(/^[0-9.]+([eE][+-]?[0-9]+|[kMGTP]i?|Ki)?$/);
      }),
    );
  });

  it('reads 64 KiB of any text in linear time', () => {
    expectLinear(PIECES, parseQuantity);
  });
});
