import { expect } from 'chai';
import sinon from 'sinon';
import { resumedDownload } from '../../../src/application/resumed-download.ts';
import { UpstreamDeniedError, UpstreamTimeoutError, UpstreamUnavailableError } from '../../../src/domain/errors.ts';
import { bytesOf } from '../../support/image.ts';
import { rejection } from '../../support/rejection.ts';

const MIB = 1024 * 1024;
const bytes = bytesOf(3 * MIB);
const broken = new UpstreamUnavailableError();

/** Yields the bytes from `start` to `end`, and then throws the error. */
async function* cut(start: number, end: number, error?: Error): AsyncGenerator<Uint8Array> {
  for (let at = start; at < end; at += 10_000) yield bytes.subarray(at, Math.min(end, at + 10_000));
  if (error !== undefined) throw error;
}

async function* breaking(chunk: Uint8Array): AsyncGenerator<Uint8Array> {
  yield chunk;
  throw broken;
}

async function readAll(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}

describe('resumedDownload', () => {
  const fetch = sinon.stub<[number], Promise<AsyncIterable<Uint8Array>>>();
  beforeEach(() => {
    fetch.reset();
  });

  for (const error of [broken, new UpstreamTimeoutError()]) {
    it(`continues after ${error.code} at the byte where it broke off`, async () => {
      fetch.withArgs(0).resolves(cut(0, 123_456, error));
      fetch.withArgs(123_456).resolves(cut(123_456, bytes.byteLength));
      const all = await readAll(await resumedDownload(bytes.byteLength, fetch));
      expect(Buffer.compare(all, bytes)).to.equal(0);
      sinon.assert.calledTwice(fetch);
    });
  }

  it('does not repeat a request that brings no first byte', async () => {
    fetch.rejects(broken);
    expect(await rejection(resumedDownload(bytes.byteLength, fetch))).to.equal(broken);
    sinon.assert.calledOnce(fetch);
  });

  it('continues as long as each attempt makes progress', async () => {
    fetch.callsFake(async (offset) => {
      const end = Math.min(bytes.byteLength, offset + MIB);
      return cut(offset, end, end < bytes.byteLength ? broken : undefined);
    });
    expect(await readAll(await resumedDownload(bytes.byteLength, fetch))).to.have.lengthOf(bytes.byteLength);
    sinon.assert.calledThrice(fetch);
  });

  it('requests nothing after the last byte', async () => {
    fetch.resolves(cut(0, bytes.byteLength, broken));
    expect(await readAll(await resumedDownload(bytes.byteLength, fetch))).to.have.lengthOf(bytes.byteLength);
    sinon.assert.calledOnce(fetch);
  });

  it('gives up after four attempts without much progress', async () => {
    fetch.callsFake(async (offset) => cut(offset, offset + 10, broken));
    expect(await rejection(readAll(await resumedDownload(bytes.byteLength, fetch)))).to.equal(broken);
    sinon.assert.callCount(fetch, 4);
  });

  it('gives up after four attempts that stalled, however long they took', async () => {
    const clock = sinon.useFakeTimers({ toFake: ['performance'] });
    async function* dryingUp(offset: number): AsyncGenerator<Uint8Array> {
      yield bytes.subarray(offset, offset + 10);
      clock.tick(30_000);
      throw new UpstreamTimeoutError();
    }
    fetch.callsFake(async (offset) => dryingUp(offset));
    const error = await rejection(readAll(await resumedDownload(bytes.byteLength, fetch)));
    clock.restore();
    expect(error).to.be.instanceOf(UpstreamTimeoutError);
    sinon.assert.callCount(fetch, 4);
  });

  it('tries again also if the next attempt fails before its first byte', async () => {
    fetch.onCall(0).resolves(cut(0, 1000, broken));
    fetch.onCall(1).rejects(broken);
    fetch.onCall(2).resolves(cut(1000, bytes.byteLength));
    expect(await readAll(await resumedDownload(bytes.byteLength, fetch))).to.have.lengthOf(bytes.byteLength);
    expect(fetch.args).to.deep.equal([[0], [1000], [1000]]);
  });

  it('does not try again after a refusal', async () => {
    const denied = new UpstreamDeniedError();
    fetch.onCall(0).resolves(cut(0, 1000, broken));
    fetch.onCall(1).rejects(denied);
    expect(await rejection(readAll(await resumedDownload(bytes.byteLength, fetch)))).to.equal(denied);
    sinon.assert.calledTwice(fetch);
  });

  it('ends where its upstream ends; the verifier detects a missing rest', async () => {
    fetch.resolves(cut(0, 5000));
    expect(await readAll(await resumedDownload(bytes.byteLength, fetch))).to.have.lengthOf(5000);
    sinon.assert.calledOnce(fetch);
  });

  it('continues after many attempts of a mebibyte each, up to a limit', async () => {
    const mebibyte = bytes.subarray(0, MIB);
    fetch.callsFake(async () => breaking(mebibyte));
    let received = 0;
    const reading = (async () => {
      for await (const chunk of await resumedDownload(1000 * MIB, fetch)) received += chunk.byteLength;
    })();
    expect(await rejection(reading)).to.equal(broken);
    sinon.assert.callCount(fetch, 100);
    expect(received).to.equal(100 * MIB);
  });

  it('counts only the bytes of each attempt', async () => {
    fetch.callsFake(async (offset) => breaking(bytes.subarray(offset, offset === 0 ? MIB : offset + 10)));
    expect(await rejection(readAll(await resumedDownload(bytes.byteLength, fetch)))).to.equal(broken);
    sinon.assert.callCount(fetch, 1 + 4);
  });

  describe('by the clock', () => {
    let clock: sinon.SinonFakeTimers;
    beforeEach(() => {
      clock = sinon.useFakeTimers({ toFake: ['performance'] });
    });
    afterEach(() => {
      clock.restore();
    });

    /** Yields `count` bytes in `ms` milliseconds and breaks off. */
    async function* lasting(ms: number, start: number, count: number): AsyncGenerator<Uint8Array> {
      yield bytes.subarray(start, start + count);
      clock.tick(ms);
      throw broken;
    }

    it('continues after an attempt that made progress for five seconds', async () => {
      fetch.callsFake(async (offset) => (offset < 10 ? lasting(5000, offset, 1) : cut(offset, bytes.byteLength)));
      expect(await readAll(await resumedDownload(bytes.byteLength, fetch))).to.have.lengthOf(bytes.byteLength);
      sinon.assert.callCount(fetch, 11);
    });

    it('gives up after four shorter attempts, or attempts without progress', async () => {
      for (const [ms, count] of [
        [4999, 1],
        [60_000, 0],
      ] as const) {
        fetch.resetHistory();
        fetch.callsFake(async (offset) => lasting(ms, offset, count));
        expect(await rejection(readAll(await resumedDownload(bytes.byteLength, fetch)))).to.equal(broken);
        sinon.assert.callCount(fetch, 4);
      }
    });

    it('gives up when the upstream has not answered for half a minute', async () => {
      for (const [ms, calls] of [
        [30_000, 2],
        [15_000, 3],
        [1000, 4],
      ] as const) {
        fetch.resetHistory();
        fetch.callsFake(async (offset) => {
          if (offset === 0) return cut(0, 1000, broken);
          clock.tick(ms);
          throw broken;
        });
        expect(await rejection(readAll(await resumedDownload(bytes.byteLength, fetch)))).to.equal(broken);
        sinon.assert.callCount(fetch, calls);
      }
    });

    it('does not count the time before the first byte of an attempt', async () => {
      fetch.callsFake(async (offset) => {
        clock.tick(60_000);
        return lasting(0, offset, 1);
      });
      expect(await rejection(readAll(await resumedDownload(bytes.byteLength, fetch)))).to.equal(broken);
      sinon.assert.callCount(fetch, 4);
    });
  });
});
