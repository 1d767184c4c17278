import { expect } from 'chai';
import { mkdtempSync, rmSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sinon from 'sinon';
import { proveArrival } from '../../../../src/adapters/filesystem/arrival-proof.ts';
import { HashThread } from '../../../../src/adapters/filesystem/hash-thread.ts';
import { digestOf } from '../../../../src/domain/digest.ts';
import { DigestMismatchError, StoreFailedError } from '../../../../src/domain/errors.ts';
import { bytesOf, makeBlob } from '../../../support/image.ts';
import { rejection } from '../../../support/rejection.ts';

const THREADED = 256 * 1024;

describe('proveArrival', () => {
  let directory: string;
  let thread: HashThread;
  let handle: FileHandle;
  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'arrival-proof-'));
    thread = new HashThread();
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

      async function arrive(arriving: Uint8Array) {
        const proof = proveArrival(descriptor, handle.fd, thread);
        for (let at = 0; at < size; at += 100_000) {
          const chunk = arriving.subarray(at, at + 100_000);
          await handle.write(chunk, 0, chunk.byteLength, at);
          proof.wrote(chunk, at + chunk.byteLength);
        }
        return proof;
      }

      it('is content with the bytes of the descriptor', async () => {
        const hash = sinon.spy(thread, 'hash');
        await (await arrive(bytes)).conclude();
        expect(hash.called).to.equal(size >= THREADED);
      });

      it('rejects others, and says which', async () => {
        const other = bytes.with(size - 1, (bytes[size - 1] ?? 0) ^ 1);
        const error = await rejection((await arrive(other)).conclude());
        expect(error).to.be.instanceOf(DigestMismatchError);
        expect(error).to.include({ expected: descriptor.digest, found: digestOf(other) });
      });

      it('ends without a conclusion', async () => {
        await (await arrive(bytes)).abandon();
      });
    });
  }

  it('is the failure of the store when a file cannot be read again', async () => {
    const { descriptor, bytes } = makeBlob('application/octet-stream', bytesOf(THREADED));
    const proof = proveArrival(descriptor, handle.fd, thread);
    proof.wrote(bytes, THREADED);
    const error = await rejection(proof.conclude());
    expect(error).to.be.instanceOf(StoreFailedError);
    expect(error).to.have.nested.property('cause.message', 'file could not be hashed');
  });
});
