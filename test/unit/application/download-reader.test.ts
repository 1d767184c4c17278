import { expect } from 'chai';
import sinon from 'sinon';
import { DownloadReader } from '../../../src/application/download-reader.ts';
import { EvictedError, StoreFailedError } from '../../../src/domain/errors.ts';
import type { BlobReader } from '../../../src/domain/ports/package-store.ts';
import { Verifier } from '../../../src/domain/verifier.ts';
import { makeBlob } from '../../support/image.ts';
import { rejection } from '../../support/rejection.ts';

const { descriptor } = makeBlob('application/octet-stream', new Uint8Array(10));

function readerThat(read: BlobReader['read']): BlobReader & { close: sinon.SinonStub } {
  return { size: 10, read, close: sinon.stub().resolves() };
}

describe('DownloadReader', () => {
  const left = sinon.stub();
  const rest = readerThat(async () => new Uint8Array([7]));
  beforeEach(() => {
    left.reset();
    rest.close.resetHistory();
  });

  function readerOf(stored: BlobReader, openRest = async (): Promise<BlobReader> => rest): DownloadReader {
    return new DownloadReader({ stored, openRest, failed: () => Promise.resolve(), onClose: left });
  }

  it('reads what is stored, and then the rest of the download', async () => {
    const stored = readerThat(async (offset) => {
      if (offset > 3) throw new StoreFailedError();
      return new Uint8Array([1]);
    });
    const reader = readerOf(stored);
    await reader.continueIn(new Verifier(descriptor));
    expect(await reader.read(3)).to.deep.equal(new Uint8Array([1]));
    expect(await reader.read(4)).to.deep.equal(new Uint8Array([7]));
    await reader.close();
    for (const each of [stored, rest]) sinon.assert.calledOnce(each.close);
    sinon.assert.calledOnce(left);
  });

  it('closes a rest that it has not read', async () => {
    const stored = readerThat(async () => new Uint8Array([1]));
    const reader = readerOf(stored);
    await reader.continueIn(new Verifier(descriptor));
    await reader.close();
    for (const each of [stored, rest]) sinon.assert.calledOnce(each.close);
  });

  it('does not read the rest for bytes that come before it', async () => {
    const error = new StoreFailedError();
    const before = new Verifier(descriptor);
    before.update(new Uint8Array(5));
    const reader = readerOf(readerThat(() => Promise.reject(error)));
    await reader.continueIn(before);
    expect(await rejection(reader.read(4))).to.equal(error);
    expect(await reader.read(5)).to.deep.equal(new Uint8Array([7]));
    await reader.close();
  });

  for (const [what, error] of [
    ['without a rest', new StoreFailedError()],
    ['for an evicted blob', new EvictedError()],
    ['for an error of the source', new Error('reset')],
  ] as const) {
    it(`rejects with the error of the store ${what}`, async () => {
      const reader = readerOf(
        readerThat(() => Promise.reject(error)),
        () => Promise.reject(new Error('no slot')),
      );
      await reader.continueIn(new Verifier(descriptor));
      expect(await rejection(reader.read(0))).to.equal(error);
      await reader.close();
    });
  }
});
