import { expect } from 'chai';
import { createHash, randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HashThread } from '../../../../src/adapters/filesystem/hash-thread.ts';
import { bytesOf } from '../../../support/image.ts';
import { rejection } from '../../../support/rejection.ts';

describe('HashThread', () => {
  let directory: string;
  let thread: HashThread;
  let handles: FileHandle[];
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'hash-thread-'));
    thread = new HashThread();
    handles = [];
  });
  afterEach(async () => {
    await thread.close();
    await Promise.all(handles.map((handle) => handle.close()));
    rmSync(directory, { recursive: true });
  });

  async function file(bytes: Uint8Array): Promise<FileHandle> {
    const handle = await open(join(directory, randomUUID()), 'wx+');
    handles.push(handle);
    await handle.write(bytes);
    return handle;
  }
  const hexOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

  it('hashes files as they grow, several at a time', async () => {
    const blobs = [1, 2, 3].map((seed) => bytesOf(1_500_000, seed));
    const running = await Promise.all(
      blobs.map(async (bytes) => ({ bytes, hash: thread.hash((await file(bytes)).fd) })),
    );
    for (const end of [1, 600_000, 1_500_000]) for (const { hash } of running) hash.grow(end);
    const found = await Promise.all(running.map(({ hash }) => hash.digest()));
    expect(found).to.deep.equal(blobs.map(hexOf));
  });

  it('says that a file cannot be hashed whose thread has died, and hashes the next one in another', async () => {
    const bytes = bytesOf(1000);
    const [asked, forgotten] = [thread.hash((await file(bytes)).fd), thread.hash((await file(bytes)).fd)];
    await thread.close();
    expect((await rejection(asked.digest())).message).to.equal('file could not be hashed');
    await forgotten.forget();
    const next = thread.hash((await file(bytes)).fd);
    next.grow(1000);
    expect(await next.digest()).to.equal(hexOf(bytes));
  });

  it('hashes what it was told of, not what is there besides', async () => {
    const bytes = bytesOf(1000);
    const hash = thread.hash((await file(bytes)).fd);
    hash.grow(400);
    expect(await hash.digest()).to.equal(hexOf(bytes.subarray(0, 400)));
    const empty = thread.hash((await file(bytes)).fd);
    expect(await empty.digest()).to.equal(hexOf(Buffer.of()));
  });

  it('says that a file cannot be hashed which is shorter than what was written, and hashes the next one', async () => {
    const bytes = bytesOf(1000);
    const hash = thread.hash((await file(bytes)).fd);
    hash.grow(1001);
    expect((await rejection(hash.digest())).message).to.equal('file could not be hashed');
    const next = thread.hash((await file(bytes)).fd);
    next.grow(1000);
    expect(await next.digest()).to.equal(hexOf(bytes));
  });

  it('forgets a file, and is done with its descriptor then', async () => {
    const handle = await file(bytesOf(1_000_000));
    const hash = thread.hash(handle.fd);
    hash.grow(1_000_000);
    await hash.forget();
    handles.splice(handles.indexOf(handle), 1);
    await handle.close();
  });

  it('leaves nobody waiting when it ends, and begins anew for the next file', async () => {
    const bytes = bytesOf(1000);
    const { fd } = await file(bytes);
    const digests = [thread.hash(fd), thread.hash(fd)].map((hash) => rejection(hash.digest()));
    await thread.close();
    for (const error of await Promise.all(digests)) expect(error.message).to.equal('file could not be hashed');
    const next = thread.hash(fd);
    next.grow(1000);
    expect(await next.digest()).to.equal(hexOf(bytes));
  });
});
