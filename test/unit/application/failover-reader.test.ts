import { expect } from 'chai';
import sinon from 'sinon';
import { FailoverReader } from '../../../src/application/failover-reader.ts';
import {
  DigestMismatchError,
  EvictedError,
  StoreFailedError,
  UpstreamUnavailableError,
} from '../../../src/domain/errors.ts';
import type { BlobReader } from '../../../src/domain/ports/package-store.ts';
import { bytesOf } from '../../support/image.ts';
import { rejection } from '../../support/rejection.ts';
import { readAll } from '../../support/source.ts';

const bytes = bytesOf(1000);
const CHUNK = 30;

/** Gives `from` in chunks, up to the byte at which it fails. */
function readerOf(from: Uint8Array, failsAt = Infinity, error: Error = new StoreFailedError()) {
  return {
    size: bytes.byteLength,
    read: sinon.spy(async (offset: number) => {
      if (offset >= failsAt) throw error;
      return from.subarray(offset, Math.min(offset + CHUNK, failsAt));
    }),
    close: sinon.spy(async () => undefined),
  } satisfies BlobReader;
}

/** With the bytes from `start` on turned over. */
function changedFrom(start: number): Uint8Array {
  return bytes.map((byte, index) => (index < start ? byte : byte ^ 0xff));
}

describe('FailoverReader', () => {
  it('continues with another reader where the disk failed, and closes each of them once', async () => {
    const [broken, fresh] = [readerOf(bytes, 500), readerOf(bytes)];
    const reopen = sinon.spy(async () => fresh);
    const all = await readAll(new FailoverReader(broken, reopen, false));
    expect(Buffer.compare(all, bytes)).to.equal(0);
    sinon.assert.calledOnce(reopen);
    sinon.assert.calledOnce(broken.close);
    sinon.assert.calledOnce(fresh.close);
  });

  it('opens no other reader while the disk does not fail', async () => {
    const whole = readerOf(bytes);
    const reopen = sinon.spy(async () => readerOf(bytes));
    await readAll(new FailoverReader(whole, reopen, false));
    sinon.assert.notCalled(reopen);
    sinon.assert.calledOnce(whole.close);
  });

  it('does not change other failures', async () => {
    const error = new UpstreamUnavailableError();
    const reopen = sinon.spy(async () => readerOf(bytes));
    expect(await rejection(readAll(new FailoverReader(readerOf(bytes, 500, error), reopen, false)))).to.equal(error);
    sinon.assert.notCalled(reopen);
  });

  it('replaces the reader only once', async () => {
    const error = new StoreFailedError();
    const reopen = sinon.spy(async () => readerOf(bytes, 700, error));
    expect(await rejection(readAll(new FailoverReader(readerOf(bytes, 500), reopen, false)))).to.equal(error);
    sinon.assert.calledOnce(reopen);
  });

  it('rejects with the error of the other reader', async () => {
    const error = new UpstreamUnavailableError();
    const broken = readerOf(bytes, 500);
    expect(await rejection(readAll(new FailoverReader(broken, () => Promise.reject(error), false)))).to.equal(error);
    sinon.assert.calledOnce(broken.close);
  });

  for (const [what, other] of [
    ['are others', changedFrom(499)],
    ['are fewer', bytes.subarray(0, 200)],
  ] as const) {
    it(`rejects if the delivered bytes ${what}, and closes both readers`, async () => {
      const [broken, fresh] = [readerOf(bytes, 500), readerOf(other)];
      const failure = await rejection(readAll(new FailoverReader(broken, async () => fresh, false)));
      expect(failure).to.be.instanceOf(DigestMismatchError);
      expect(failure).to.include({ expected: 'the bytes that were shown', found: 'others' });
      sinon.assert.calledOnce(broken.close);
      sinon.assert.calledOnce(fresh.close);
    });
  }

  it('compares only the delivered bytes', async () => {
    const [broken, fresh] = [readerOf(bytes, 500), readerOf(changedFrom(50))];
    broken.read = sinon.spy(async (offset: number) => {
      if (broken.read.callCount > 2 && offset === 50) throw new StoreFailedError();
      return bytes.subarray(offset, offset + CHUNK);
    });
    const reader = new FailoverReader(broken, async () => fresh, false);
    await reader.read(0);
    await reader.read(CHUNK);
    expect((await reader.read(50))[0]).to.equal((bytes[50] ?? 0) ^ 0xff);
    await reader.close();
  });

  it('continues without a comparison when the blob was evicted, any number of times', async () => {
    const evicted = [300, 600].map((at) => readerOf(bytes, at, new EvictedError()));
    const last = readerOf(bytes);
    const readers = [...evicted.slice(1), last];
    const reopen = sinon.spy(async () => readers.shift() ?? last);
    const all = await readAll(new FailoverReader(evicted[0] ?? last, reopen, false));
    expect(Buffer.compare(all, bytes)).to.equal(0);
    expect(reopen.args).to.deep.equal([[true], [true]]);
    expect(last.read.firstCall.args).to.deep.equal([600]);
    for (const reader of [...evicted, last]) sinon.assert.calledOnce(reader.close);
  });

  it('gives up if a blob is lost again before a byte was read', async () => {
    const error = new EvictedError();
    const reopen = sinon.spy(async () => readerOf(bytes, 300, error));
    expect(await rejection(readAll(new FailoverReader(readerOf(bytes, 300, error), reopen, true)))).to.equal(error);
    expect(reopen.callCount).to.be.at.most(2);
  });

  it('opens no other reader for a client that has left', async () => {
    const reopen = sinon.spy(async () => readerOf(bytes));
    const failing = Promise.withResolvers<Uint8Array>();
    const reader = new FailoverReader({ ...readerOf(bytes), read: () => failing.promise }, reopen, false);
    const outcome = rejection(reader.read(0));
    await reader.close();
    failing.reject(new StoreFailedError());
    expect(await outcome).to.be.instanceOf(StoreFailedError);
    sinon.assert.notCalled(reopen);
  });

  it('closes the other reader if the client leaves meanwhile', async () => {
    const [broken, fresh] = [readerOf(bytes, 0), readerOf(bytes)];
    const opening = Promise.withResolvers<BlobReader>();
    const reader = new FailoverReader(broken, () => opening.promise, false);
    const reading = reader.read(0).catch(() => undefined);
    await Promise.resolve();
    await reader.close();
    opening.resolve(fresh);
    await reading;
    sinon.assert.calledOnce(broken.close);
    sinon.assert.calledOnce(fresh.close);
  });
});
