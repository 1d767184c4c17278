import { expect } from 'chai';
import { type FileHandle, open, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sinon from 'sinon';
import { BLOCK_BYTES, BlockFile, BlockPool, type HeldBytes } from '../../../../src/adapters/filesystem/block-file.ts';
import { FileReading } from '../../../../src/adapters/filesystem/file-reading.ts';
import { StoreFailedError } from '../../../../src/domain/errors.ts';
import { lend } from '../../../../src/domain/lent-memory.ts';
import { bytesOf } from '../../../support/image.ts';
import { rejection } from '../../../support/rejection.ts';

describe('A file read in blocks', () => {
  const size = 2 * BLOCK_BYTES + 1000;
  const content = bytesOf(size);
  let directory: string;
  let path: string;
  let handle: FileHandle;
  let pool: BlockPool;
  let file: BlockFile;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'blocks-'));
    path = join(directory, 'file');
    await writeFile(path, content);
    handle = await open(path);
    pool = new BlockPool();
    file = new BlockFile(handle.fd, pool);
  });

  afterEach(async () => {
    await handle.close();
    await rm(directory, { recursive: true });
  });

  function same(bytes: Uint8Array, offset: number): boolean {
    return Buffer.compare(bytes, content.subarray(offset, offset + bytes.byteLength)) === 0;
  }

  /** Holds every block of the pool until the test ends. */
  function exhaust(): void {
    while (pool.take(() => undefined) !== undefined);
  }

  it('keeps written blocks in memory for readers that follow', async () => {
    file.keep(0, content.subarray(0, 1000));
    file.keep(1000, content.subarray(1000, BLOCK_BYTES + 500));
    await truncate(path, 0);
    expect(same((await file.hold(100, BLOCK_BYTES))?.bytes ?? bytesOf(1), 100)).to.equal(true);
    const second = await file.hold(BLOCK_BYTES, BLOCK_BYTES + 500);
    expect(second?.bytes).to.have.lengthOf(500);
    expect(same(second?.bytes ?? bytesOf(1), BLOCK_BYTES)).to.equal(true);
  });

  describe('with bytes that arrive in lent memory', () => {
    /** Lends two blocks that begin with `content`, as a body does. */
    function lendContent(): {
      readonly memory: Uint8Array;
      readonly letGo: () => void;
      readonly onReturned: sinon.SinonStub;
    } {
      const memory = new Uint8Array(new SharedArrayBuffer(2 * BLOCK_BYTES));
      memory.set(content.subarray(0, memory.byteLength));
      const onReturned = sinon.stub();
      return { memory, letGo: lend(memory, onReturned), onReturned };
    }

    it('gives readers the lent memory without a copy', async () => {
      const { memory } = lendContent();
      file.keep(0, memory.subarray(0, 1000));
      file.keep(1000, memory.subarray(1000));
      await truncate(path, 0);
      for (const offset of [0, 500, BLOCK_BYTES, BLOCK_BYTES + 7]) {
        const held = await file.hold(offset, 2 * BLOCK_BYTES);
        expect(held?.bytes.buffer).to.equal(memory.buffer);
        expect(held?.bytes.byteOffset).to.equal(offset);
        held?.release();
      }
      expect(pool.size).to.equal(0);
    });

    it('returns the memory when its owner has released it and no reader holds it', async () => {
      const { memory, letGo, onReturned } = lendContent();
      file.keep(0, memory);
      const held = await file.hold(0, 100);
      letGo();
      expect(onReturned.callCount).to.equal(0);
      held?.release();
      file.forget();
      expect(onReturned.callCount).to.equal(1);
    });

    it('borrows at most 4 blocks: the last written ones and those that readers hold', async () => {
      const lent = Array.from({ length: 5 }, lendContent);
      const files = lent.map(() => new BlockFile(handle.fd, pool));
      const held: (HeldBytes | undefined)[] = [];
      for (const [index, { memory, letGo }] of lent.entries()) {
        files[index]?.keep(0, memory.subarray(0, BLOCK_BYTES));
        if (index < 2) held.push(await files[index]?.hold(0, BLOCK_BYTES));
        letGo();
      }
      expect(lent.map(({ onReturned }) => onReturned.callCount)).to.deep.equal([0, 0, 1, 0, 0]);
      for (const each of held) each?.release();
    });

    it('copies bytes that continue in other memory, for example after a broken connection, and while 4 borrowed blocks are held', async () => {
      const [first, second] = [lendContent(), lendContent()];
      file.keep(0, first.memory.subarray(0, 1000));
      file.keep(1000, second.memory.subarray(1000, 5000));
      const held = await file.hold(0, 5000);
      expect(same(held?.bytes ?? bytesOf(1), 0)).to.equal(true);
      const others = Array.from({ length: 4 }, () => new BlockFile(handle.fd, pool));
      for (const other of others) {
        const { memory } = lendContent();
        other.keep(0, memory);
        await other.hold(0, 100);
      }
      expect(pool.size).to.be.greaterThan(0);
    });

    it('copies bytes that do not begin at the start of a lent block', async () => {
      const { memory } = lendContent();
      file.keep(0, memory.subarray(0, 1000));
      file.forget();
      const shifted = new BlockFile(handle.fd, pool);
      shifted.keep(0, memory.subarray(16, 1000));
      const held = await shifted.hold(0, 984);
      expect(held?.bytes.buffer).not.to.equal(memory.buffer);
      expect(Buffer.compare(held?.bytes ?? bytesOf(1), content.subarray(16, 1000))).to.equal(0);
    });
  });

  it('keeps no bytes of a block whose beginning is missing or which is being read', async () => {
    file.keep(1000, bytesOf(500, 7));
    const reading = file.hold(0, 2000);
    file.keep(0, bytesOf(2000, 7));
    const held = await reading;
    expect(same(held?.bytes ?? bytesOf(1), 0)).to.equal(true);
    file.keep(3000, bytesOf(500, 7));
    expect(same((await file.hold(2000, 3500))?.bytes ?? bytesOf(1), 2000)).to.equal(true);
  });

  it('keeps no written bytes while readers hold all blocks', async () => {
    exhaust();
    file.keep(0, content);
    expect(await file.hold(0, size)).to.equal(undefined);
  });

  it('reads each block once and gives all readers the same memory', async () => {
    const [one, other] = await Promise.all([file.hold(0, size), file.hold(100, size)]);
    expect(one?.bytes.buffer).to.equal(other?.bytes.buffer);
    expect(same(one?.bytes ?? bytesOf(1), 0)).to.equal(true);
    expect(same(other?.bytes ?? bytesOf(1), 100)).to.equal(true);
    // The file does not read the same bytes twice.
    await truncate(path, 0);
    expect((await file.hold(0, size))?.bytes).to.have.lengthOf(BLOCK_BYTES);
  });

  it('reads the rest of a block of which only the beginning was kept', async () => {
    const early = await file.hold(0, 1000);
    expect(early?.bytes).to.have.lengthOf(1000);
    const late = await file.hold(500, 300_000);
    expect(late?.bytes).to.have.lengthOf(299_500);
    expect(same(late?.bytes ?? bytesOf(1), 500)).to.equal(true);
  });

  it('never reuses a block that a reader holds, and reuses others when the pool is full', async () => {
    const held = await file.hold(0, size);
    const idle = await file.hold(BLOCK_BYTES, size);
    idle?.release();
    exhaust();
    expect(same(held?.bytes ?? bytesOf(1), 0)).to.equal(true);
    expect(await file.hold(BLOCK_BYTES, size)).to.equal(undefined);
    expect((await file.hold(0, size))?.bytes).to.have.lengthOf(BLOCK_BYTES);
  });

  it('drops its blocks when its descriptor is closed', async () => {
    (await file.hold(0, size))?.release();
    file.forget();
    await truncate(path, 0);
    expect((await rejection(file.hold(0, size))).message).to.equal('file is shorter than it should be');
  });

  it('reads again after a failed read', async () => {
    await truncate(path, 0);
    await rejection(file.hold(0, size));
    await writeFile(path, content);
    expect(same((await file.hold(0, size))?.bytes ?? bytesOf(1), 0)).to.equal(true);
  });

  it('is read with a small first block, then in large blocks with one block read ahead', async () => {
    const reading = new FileReading(file);
    let offset = 0;
    const lengths: number[] = [];
    while (offset < size) {
      const bytes = await reading.read(offset, size);
      expect(same(bytes, offset)).to.equal(true);
      lengths.push(bytes.byteLength);
      offset += bytes.byteLength;
    }
    expect(lengths).to.deep.equal([65_536, BLOCK_BYTES - 65_536, BLOCK_BYTES, 1000]);
    await reading.close();
  });

  it('returns the first bytes before the rest of the block, and returns bytes in memory at once', async () => {
    const first = await file.hold(0, size, 1000);
    expect(first?.bytes).to.have.lengthOf(1000);
    const rest = await file.hold(1000, size);
    expect(rest?.bytes).to.have.lengthOf(BLOCK_BYTES - 1000);
    const whole = await file.hold(0, size, 1000);
    expect(whole?.bytes).to.have.lengthOf(BLOCK_BYTES);
    expect(same(whole?.bytes ?? bytesOf(1), 0)).to.equal(true);
  });

  it('is read in small steps when no block is free', async () => {
    exhaust();
    const reading = new FileReading(file);
    for (let offset = 0; offset < 3 * 65_536; offset += 65_536) {
      const bytes = await reading.read(offset, size);
      expect(bytes).to.have.lengthOf(65_536);
      expect(same(bytes, offset)).to.equal(true);
    }
    await reading.close();
  });

  it('is read in small steps by a slow reader, and in blocks again when the reader has been fast for a while', async () => {
    const clock = sinon.useFakeTimers({ toFake: ['performance'] });
    try {
      const reading = new FileReading(file);
      expect(await reading.read(0, size)).to.have.lengthOf(65_536);
      clock.tick(1000);
      const steps: number[] = [];
      while (steps.at(-1) !== BLOCK_BYTES) {
        const bytes = await reading.read(0, size);
        expect(same(bytes, 0)).to.equal(true);
        steps.push(bytes.byteLength);
        clock.tick(1);
      }
      expect(steps.slice(0, -1)).to.deep.equal(Array.from({ length: 512 }, () => 16_384));
      await reading.close();
    } finally {
      clock.restore();
    }
  });

  it('holds no block for a reader that has left', async () => {
    const reading = new FileReading(file);
    await reading.read(0, size);
    const leaving = reading.read(BLOCK_BYTES, size);
    await reading.close();
    await leaving;
    let free = 0;
    while (pool.take(() => undefined) !== undefined) free++;
    expect(free).to.equal(64);
  });

  it('reports a failed read as a failure of the store', async () => {
    await truncate(path, 1000);
    const reading = new FileReading(file);
    expect(await rejection(reading.read(0, size))).to.be.instanceOf(StoreFailedError);
    await reading.close();
  });
});

describe('BlockPool', () => {
  const ignored = (): void => undefined;

  it('reuses the blocks of closed files before it allocates new ones', () => {
    const pool = new BlockPool();
    for (let file = 0; file < 600; file++) {
      const blocks = [pool.take(ignored), pool.take(ignored)];
      for (const block of blocks) {
        if (block === undefined) throw new Error('no block');
        block.holders--;
        pool.free(block);
      }
    }
    expect(pool.size).to.equal(2);
  });

  it('does not reuse a block of a closed file while a reader holds it', () => {
    const pool = new BlockPool();
    const held = pool.take(ignored);
    if (held === undefined) throw new Error('no block');
    pool.free(held);
    const others = new Set(Array.from({ length: 1000 }, () => pool.take(ignored)));
    expect(others.has(held)).to.equal(false);
    expect(pool.size).to.equal(64);
  });
});
