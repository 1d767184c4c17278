import { expect } from 'chai';
import { abridged, formatBytes, formatError, formatSeconds } from '../../../../src/adapters/cli/format.ts';
import { DigestMismatchError, StoreFailedError, UpstreamDeniedError } from '../../../../src/domain/errors.ts';

describe('formatBytes', () => {
  for (const [bytes, text] of [
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1.0 KiB'],
    [9.75 * 1024 ** 2, '9.8 MiB'],
    [99.96 * 1024 ** 2, '100 MiB'],
    [1024 ** 3 - 1, '1.0 GiB'],
    [312 * 1024 ** 3, '312 GiB'],
    [2 ** 62, '4096 PiB'],
  ] as const) {
    it(`writes ${String(bytes)} as ${text}`, () => {
      expect(formatBytes(bytes)).to.equal(text);
    });
  }
});

describe('formatSeconds', () => {
  for (const [seconds, text] of [
    [0.4, '0 s'],
    [59.4, '59 s'],
    [59.6, '1 min 0 s'],
    [200, '3 min 20 s'],
    [7530, '2 h 5 min'],
  ] as const) {
    it(`writes ${String(seconds)} as ${text}`, () => {
      expect(formatSeconds(seconds)).to.equal(text);
    });
  }
});

describe('formatError', () => {
  it('writes an error and its causes in one line', () => {
    const cause = new Error('ENOSPC: no space left on device, write');
    expect(formatError(new StoreFailedError({ cause }))).to.equal(`local store failed: ${cause.message}`);
    expect(formatError(new UpstreamDeniedError())).to.equal('registry refused the configured credentials');
  });

  it('writes the expected and the actual digest', () => {
    expect(formatError(new DigestMismatchError('sha256:a', 'sha256:b'))).to.equal(
      'content does not match its digest: expected sha256:a, found sha256:b',
    );
  });

  it('ends also for a cycle of causes', () => {
    const error = new Error('again');
    error.cause = error;
    expect(formatError(error)).to.equal('again: again: again: again: again');
    expect(formatError(undefined)).to.equal('unknown error');
  });
});

describe('abridged', () => {
  it('shows fifty lines and the number of further ones', () => {
    const lines = Array.from({ length: 52 }, (_, index) => String(index));
    expect(abridged(lines.slice(0, 50)).split('\n')).to.have.lengthOf(50);
    expect(abridged(lines).split('\n').slice(-2)).to.deep.equal(['49', '… and 2 more']);
  });
});
