import { expect } from 'chai';
import { DigestMismatchError, StoreFailedError, UpstreamDeniedError } from '../../../../src/domain/errors.ts';
import { abridged, formatError } from '../../../../src/adapters/cli/format-error.ts';

describe('formatError', () => {
  it('says what happened and what had caused it, on one line', () => {
    const cause = new Error('ENOSPC: no space left on device, write');
    expect(formatError(new StoreFailedError({ cause }))).to.equal(`local store failed: ${cause.message}`);
    expect(formatError(new UpstreamDeniedError())).to.equal('registry refused the configured credentials');
  });

  it('says which digest was expected and which was found', () => {
    expect(formatError(new DigestMismatchError('sha256:a', 'sha256:b'))).to.equal(
      'content does not match its digest: expected sha256:a, found sha256:b',
    );
  });

  it('ends, also when causes do not', () => {
    const error = new Error('again');
    error.cause = error;
    expect(formatError(error)).to.equal('again: again: again: again: again');
    expect(formatError(undefined)).to.equal('unknown error');
  });
});

describe('abridged', () => {
  it('shows fifty lines, and how many more there are', () => {
    const lines = Array.from({ length: 52 }, (_, index) => String(index));
    expect(abridged(lines.slice(0, 50)).split('\n')).to.have.lengthOf(50);
    expect(abridged(lines).split('\n').slice(-2)).to.deep.equal(['49', '… and 2 more']);
  });
});
