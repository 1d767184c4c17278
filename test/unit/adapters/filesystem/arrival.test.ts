import { expect } from 'chai';
import { mkdtempSync, rmSync } from 'node:fs';
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sinon from 'sinon';
import { type Arrival, beginArrival, expectArrival } from '../../../../src/adapters/filesystem/arrival.ts';
import { ArrivalThread } from '../../../../src/adapters/filesystem/arrival-thread.ts';
import { digestOf } from '../../../../src/domain/descriptor.ts';
import { DigestMismatchError, StoreFailedError } from '../../../../src/domain/errors.ts';
import { bytesOf, makeBlob } from '../../../support/image.ts';
import { rejection } from '../../../support/rejection.ts';

const THREADED = 1024 * 1024;

describe('beginArrival', () => {
  let directory: string;
  let thread: ArrivalThread;
  let handle: FileHandle;
  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'arrival-'));
    thread = new ArrivalThread();
    handle = await open(join(directory, 'blob'), 'wx+');
  });
  afterEach(async () => {
    await thread.close();
    await handle.close();
    rmSync(directory, { recursive: true });
  });

  for (const [size, where] of [
    [THREADED - 1, 'on the main thread'],
    [THREADED, 'beside it'],
  ] as const) {
    describe(`of ${String(size)} bytes, ${where}`, () => {
      const { descriptor, bytes } = makeBlob('application/octet-stream', bytesOf(size));

      async function arrive(arriving: Uint8Array): Promise<Arrival> {
        const arrival = beginArrival(descriptor, handle.fd, thread);
        for (let at = 0; at < size;) at += await arrival.write(arriving.subarray(at, at + 300_000), at);
        return arrival;
      }

      it('writes the bytes of the descriptor', async () => {
        const file = sinon.spy(thread, 'file');
        await (await arrive(bytes)).conclude();
        expect(file.called).to.equal(size >= THREADED);
        expect(Buffer.compare(await readFile(join(directory, 'blob')), bytes)).to.equal(0);
      });

      it('rejects other bytes, and reports their digest', async () => {
        const other = bytes.with(size - 1, (bytes[size - 1] ?? 0) ^ 1);
        const error = await rejection((await arrive(other)).conclude());
        expect(error).to.be.instanceOf(DigestMismatchError);
        expect(error).to.include({ expected: descriptor.digest, found: digestOf(other) });
      });

      it('can be ended before the last byte', async () => {
        (await arrive(bytes)).abandon();
      });
    });
  }

  it('fails as a failure of the store when the thread crashes before the digest', async () => {
    const { descriptor, bytes } = makeBlob('application/octet-stream', bytesOf(THREADED));
    const arrival = beginArrival(descriptor, handle.fd, thread);
    for (let at = 0; at < THREADED;) at += await arrival.write(bytes.subarray(at), at);
    await thread.close();
    const error = await rejection(arrival.conclude());
    expect(error).to.be.instanceOf(StoreFailedError);
    expect(error).to.have.nested.property('cause.message', 'writing thread has ended unexpectedly');
  });
});

describe('expectArrival', () => {
  it('starts the thread for a large blob, and not for a small one', async () => {
    const thread = new ArrivalThread();
    const begin = sinon.spy(thread, 'begin');
    for (const size of [THREADED - 1, THREADED]) {
      expectArrival({ ...makeBlob('application/octet-stream', bytesOf(1)).descriptor, size }, thread);
      expect(begin.callCount).to.equal(size < THREADED ? 0 : 1);
    }
    await thread.close();
  });
});
