import { expect } from 'chai';
import { createHash, randomUUID } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ArrivalThread, type ThreadedFile } from '../../../../src/adapters/filesystem/arrival-thread.ts';
import { bytesOf } from '../../../support/image.ts';
import { rejection } from '../../../support/rejection.ts';

/** Linux: each write fails with ENOSPC. */
const FULL = '/dev/full';

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

  async function create(path = join(directory, randomUUID())): Promise<{ path: string; file: ThreadedFile }> {
    const handle = await open(path, path === FULL ? 'w' : 'wx+');
    handles.push(handle);
    return { path, file: thread.file(handle.fd) };
  }
  const hexOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
  const shared = (bytes: Uint8Array): Uint8Array => {
    const copy = new Uint8Array(new SharedArrayBuffer(bytes.byteLength));
    copy.set(bytes);
    return copy;
  };

  async function writeAll(file: ThreadedFile, bytes: Uint8Array, step: number): Promise<void> {
    for (let at = 0; at < bytes.byteLength;) at += await file.write(bytes.subarray(at, at + step), at);
  }

  for (const [kind, made] of [
    ['shared memory', shared],
    ['memory of the main thread', (bytes: Uint8Array) => bytes],
  ] as const) {
    it(`writes and hashes several files at a time, out of ${kind}`, async () => {
      const blobs = [1, 2, 3].map((seed) => bytesOf(1_500_000, seed));
      const found = await Promise.all(
        blobs.map(async (bytes) => {
          const { path, file } = await create();
          await writeAll(file, made(bytes), 600_000);
          return { path, hex: await file.digest() };
        }),
      );
      expect(found.map(({ hex }) => hex)).to.deep.equal(blobs.map(hexOf));
      for (const [index, { path }] of found.entries()) {
        expect(Buffer.compare(await readFile(path), blobs[index] ?? bytesOf(1))).to.equal(0);
      }
    });
  }

  it('does not change the bytes of a caller', async () => {
    const bytes = bytesOf(1000);
    const { file } = await create();
    expect(await file.write(bytes.subarray(100, 300), 0)).to.equal(200);
    expect(bytes).to.deep.equal(bytesOf(1000));
    expect(await file.digest()).to.equal(hexOf(bytes.subarray(100, 300)));
  });

  it('computes the digest of an empty file', async () => {
    const { file } = await create();
    expect(await file.digest()).to.equal(hexOf(Buffer.of()));
  });

  it('fails with the code of the file system, and hashes only what it wrote', async function () {
    if (!existsSync(FULL)) this.skip();
    const bytes = bytesOf(100_000);
    const { file } = await create(FULL);
    expect(await rejection(file.write(shared(bytes), 0))).to.have.property('code', 'ENOSPC');
    expect(await file.digest()).to.equal(hexOf(Buffer.of()));
    const { file: next } = await create();
    await writeAll(next, bytes, 30_000);
    expect(await next.digest()).to.equal(hexOf(bytes));
  });

  it('fails for a descriptor that is closed', async () => {
    const { file } = await create();
    await handles.pop()?.close();
    // A socket of the process may have taken the number meanwhile; a write at a position fails there, too.
    const error = await rejection(file.write(bytesOf(10), 0));
    expect(error).to.have.property('code').that.is.oneOf(['EBADF', 'ESPIPE']);
  });

  it('starts a new hash when a descriptor is reused for another file', async () => {
    const bytes = bytesOf(1000);
    const { file } = await create();
    await file.write(bytes, 0);
    file.forget();
    const again = thread.file(handles[0]?.fd ?? -1);
    await again.write(bytes, 0);
    expect(await again.digest()).to.equal(hexOf(bytes));
  });

  it('rejects with the cause for a file whose thread has crashed, and writes the next file in a new thread', async () => {
    const bytes = bytesOf(1000);
    const [{ file: writing }, { file: ending }] = [await create(), await create()];
    const pending = [rejection(writing.write(bytes, 0)), rejection(ending.digest())];
    const cause = new Error('no memory');
    thread.begin().emit('error', cause);
    await thread.close();
    for (const error of await Promise.all(pending)) {
      expect(error.message).to.equal('writing thread has ended unexpectedly');
      expect(error.cause).to.equal(cause);
    }
    expect((await rejection(ending.digest())).message).to.equal('writing thread has ended unexpectedly');
    ending.forget();
    const { file: next } = await create();
    await next.write(bytes, 0);
    expect(await next.digest()).to.equal(hexOf(bytes));
  });
});
