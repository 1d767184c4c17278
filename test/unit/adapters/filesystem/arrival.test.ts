import { expect } from 'chai';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import workers from 'node:worker_threads';
import sinon from 'sinon';
import {
  type Arrival,
  ArrivalThread,
  beginArrival,
  expectArrival,
} from '../../../../src/adapters/filesystem/arrival.ts';
import { digestOf } from '../../../../src/domain/descriptor.ts';
import { DigestMismatchError, StoreFailedError } from '../../../../src/domain/errors.ts';
import { bytesOf, makeBlob } from '../../../support/image.ts';
import { rejection } from '../../../support/rejection.ts';

const THREADED = 1024 * 1024;
/** Linux: each write fails with ENOSPC. */
const FULL = '/dev/full';

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
    expect(error).to.have.nested.property('cause.message', 'writing thread does not run');
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

describe('ArrivalThread', () => {
  let directory: string;
  let thread: ArrivalThread;
  let handles: FileHandle[];
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'arrival-thread-'));
    thread = new ArrivalThread();
    handles = [];
  });
  afterEach(async () => {
    await thread.close();
    await Promise.all(handles.map((handle) => handle.close()));
    rmSync(directory, { recursive: true });
  });

  /** Begins a file that must get these bytes. */
  async function create(
    bytes: Uint8Array,
    path = join(directory, randomUUID()),
  ): Promise<{ path: string; file: Arrival }> {
    const handle = await open(path, path === FULL ? 'w' : 'wx+');
    handles.push(handle);
    return { path, file: thread.file({ digest: digestOf(bytes) }, handle.fd) };
  }
  const shared = (bytes: Uint8Array): Uint8Array => {
    const copy = new Uint8Array(new SharedArrayBuffer(bytes.byteLength));
    copy.set(bytes);
    return copy;
  };

  async function writeAll(file: Arrival, bytes: Uint8Array, step: number): Promise<void> {
    for (let at = 0; at < bytes.byteLength;) at += await file.write(bytes.subarray(at, at + step), at);
  }

  for (const [kind, made] of [
    ['shared memory', shared],
    ['memory of the main thread', (bytes: Uint8Array) => bytes],
  ] as const) {
    it(`writes and hashes several files at a time, out of ${kind}`, async () => {
      const blobs = [1, 2, 3].map((seed) => bytesOf(1_500_000, seed));
      await Promise.all(
        blobs.map(async (bytes) => {
          const { path, file } = await create(bytes);
          await writeAll(file, made(bytes), 600_000);
          await file.conclude();
          expect(Buffer.compare(await readFile(path), bytes)).to.equal(0);
        }),
      );
    });
  }

  it('does not change the bytes of a caller', async () => {
    const bytes = bytesOf(1000);
    const { file } = await create(bytes.subarray(100, 300));
    expect(await file.write(bytes.subarray(100, 300), 0)).to.equal(200);
    expect(bytes).to.deep.equal(bytesOf(1000));
    await file.conclude();
  });

  it('verifies an empty file', async () => {
    await (await create(Buffer.of())).file.conclude();
    expect(await rejection((await create(Buffer.of(1))).file.conclude())).to.include({ found: digestOf(Buffer.of()) });
  });

  it('fails with the code of the file system, and hashes only what it wrote', async function () {
    if (!existsSync(FULL)) this.skip();
    const bytes = bytesOf(100_000);
    const { file } = await create(Buffer.of(), FULL);
    expect(await rejection(file.write(shared(bytes), 0))).to.have.property('code', 'ENOSPC');
    await file.conclude();
    const { file: next } = await create(bytes);
    await writeAll(next, bytes, 30_000);
    await next.conclude();
  });

  it('fails for a descriptor that is closed', async () => {
    const bytes = bytesOf(10);
    const { file } = await create(bytes);
    await handles.pop()?.close();
    // A socket of the process may have taken the number meanwhile; a write at a position fails there, too.
    const error = await rejection(file.write(bytes, 0));
    expect(error).to.have.property('code').that.is.oneOf(['EBADF', 'ESPIPE']);
  });

  it('starts a new hash when a descriptor is reused for another file', async () => {
    const bytes = bytesOf(1000);
    const { file } = await create(bytes);
    await file.write(bytes, 0);
    file.abandon();
    const again = thread.file({ digest: digestOf(bytes) }, handles[0]?.fd ?? -1);
    await again.write(bytes, 0);
    await again.conclude();
  });

  it('rejects with the cause for a file whose thread has crashed, and writes the next file in a new thread', async () => {
    const bytes = bytesOf(1000);
    const [{ file: writing }, { file: ending }] = [await create(bytes), await create(bytes)];
    const pending = [rejection(writing.write(bytes, 0)), rejection(ending.conclude())];
    const cause = new Error('no memory');
    thread.begin()?.emit('error', cause);
    await thread.close();
    const [unwritten, unverified] = await Promise.all(pending);
    const message = 'writing thread does not run';
    for (const error of [unwritten, unverified?.cause]) expect(error).to.include({ message, cause });
    expect((await rejection(ending.conclude())).cause).to.have.property('message', message);
    ending.abandon();
    const { file: next } = await create(bytes);
    await next.write(bytes, 0);
    await next.conclude();
  });

  it('rejects with the cause for a file while the system has no thread left', async () => {
    const bytes = bytesOf(1000);
    const cause = new Error('EAGAIN');
    const stub = sinon.stub(workers, 'Worker').throws(cause);
    syncBuiltinESMExports();
    const { file } = await create(bytes);
    stub.restore();
    syncBuiltinESMExports();
    expect((await rejection(file.write(bytes, 0))).cause).to.equal(cause);
    file.abandon();
    const { file: next } = await create(bytes);
    await next.write(bytes, 0);
    await next.conclude();
  });
});
