import { expect } from 'chai';
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sinon from 'sinon';
import { BlockFile, BlockPool } from '../../../../src/adapters/filesystem/block-file.ts';
import { Ledger } from '../../../../src/adapters/filesystem/ledger.ts';
import type { OpenFile } from '../../../../src/adapters/filesystem/open-files.ts';
import { FileReading, readStoredFile } from '../../../../src/adapters/filesystem/file-reading.ts';
import { digestOf } from '../../../../src/domain/descriptor.ts';
import { StoreFailedError } from '../../../../src/domain/errors.ts';
import { bytesOf } from '../../../support/image.ts';
import { rejection } from '../../../support/rejection.ts';
import { readAll } from '../../../support/source.ts';

const bytes = bytesOf(100_000);
const entry = new Ledger(1e9).add(digestOf(bytes), bytes.byteLength, new Date(5), 5);

describe('readStoredFile', () => {
  let directory: string;
  let fd: number;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'stored-file-'));
    writeFileSync(join(directory, 'blob'), bytes);
    fd = openSync(join(directory, 'blob'), 'r+');
  });
  afterEach(() => {
    closeSync(fd);
    rmSync(directory, { recursive: true });
  });

  const contents: Record<string, () => OpenFile['content']> = {
    'in memory': () => bytes,
    'on the disk': () => new BlockFile(fd, new BlockPool()),
  };
  for (const [where, content] of Object.entries(contents)) {
    it(`reads what is ${where} to its end, and says once that it is closed`, async () => {
      const events = { onDamage: sinon.spy(), onClosed: sinon.spy() };
      const stored = readStoredFile({ entry, content: content() }, events);
      expect(stored).to.include({ size: 100_000, storedAt: entry.storedAt });
      expect(await stored.read(100_000)).to.have.lengthOf(0);
      expect((await stored.read(99_999))[0]).to.equal(bytes[99_999]);
      sinon.assert.notCalled(events.onClosed);
      expect(Buffer.compare(await readAll(stored), bytes)).to.equal(0);
      sinon.assert.calledOnce(events.onClosed);
      sinon.assert.notCalled(events.onDamage);
    });
  }

  it('returns 16 KiB at a time to a reader that has become slow', async () => {
    const clock = sinon.useFakeTimers({ toFake: ['performance'] });
    const stored = readStoredFile(
      { entry, content: new BlockFile(fd, new BlockPool()) },
      { onDamage: sinon.spy(), onClosed: sinon.spy() },
    );
    const { byteLength } = await stored.read(0);
    clock.tick(1000);
    expect(await stored.read(byteLength)).to.have.lengthOf(16 * 1024);
    clock.restore();
    await stored.close();
  });

  it('keeps large blocks for a fast reader that pauses once', async () => {
    const clock = sinon.useFakeTimers({ toFake: ['performance'] });
    const stored = readStoredFile(
      { entry, content: new BlockFile(fd, new BlockPool()) },
      { onDamage: sinon.spy(), onClosed: sinon.spy() },
    );
    const { byteLength } = await stored.read(0);
    clock.tick(300);
    expect(await stored.read(byteLength)).to.have.lengthOf(bytes.byteLength - byteLength);
    clock.restore();
    await stored.close();
  });

  it('follows a growing file while its reader is fast and close to the end', async () => {
    const reading = new FileReading(new BlockFile(fd, new BlockPool()));
    const close = 2 * 1024 * 1024;
    expect([reading.follows(close), reading.follows(close + 1)]).to.deep.equal([true, false]);
    const { byteLength } = await reading.read(0, bytes.byteLength);
    expect([reading.follows(byteLength + close), reading.follows(byteLength + close + 1)]).to.deep.equal([true, false]);
    const later = performance.now() + 1000;
    const clock = sinon.stub(performance, 'now').returns(later);
    try {
      expect(reading.follows(byteLength)).to.equal(false);
    } finally {
      clock.restore();
    }
    await reading.close();
  });

  it('rejects when a file has been changed', async () => {
    const events = { onDamage: sinon.spy(), onClosed: sinon.spy() };
    const stored = readStoredFile({ entry, content: new BlockFile(fd, new BlockPool()) }, events);
    ftruncateSync(fd, 10);
    expect(await rejection(readAll(stored))).to.be.instanceOf(StoreFailedError);
    sinon.assert.calledOnce(events.onDamage);
    sinon.assert.calledOnce(events.onClosed);
  });
});
