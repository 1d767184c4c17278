import { expect } from 'chai';
import { parseQuantity } from '../../../src/infrastructure/quantity.ts';

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
});
