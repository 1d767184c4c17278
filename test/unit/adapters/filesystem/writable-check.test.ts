import { expect } from 'chai';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sinon from 'sinon';
import { Eviction } from '../../../../src/adapters/filesystem/eviction.ts';
import { FilesystemPackageStore } from '../../../../src/adapters/filesystem/filesystem-package-store.ts';
import { Layout } from '../../../../src/adapters/filesystem/layout.ts';
import { Ledger } from '../../../../src/adapters/filesystem/ledger.ts';
import { WritableCheck } from '../../../../src/adapters/filesystem/writable-check.ts';
import { StoreFailedError } from '../../../../src/domain/errors.ts';
import { bytesOf, makeBlob } from '../../../support/image.ts';
import { rejection } from '../../../support/rejection.ts';
import { ingest, readAll, sourceOf } from '../../../support/source.ts';

const EVICTION = new Eviction({ ledger: new Ledger(0), remove: () => undefined });

/** A disk that hangs until the returned function is called. */
function hang(layout: Layout): () => void {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const make = sinon.stub(layout, 'make').callsFake(async function (this: Layout) {
    await promise;
    make.restore();
    await this.make();
  });
  return () => {
    resolve(undefined);
  };
}

describe('WritableCheck', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'writable-check-'));
  });
  afterEach(() => {
    sinon.restore();
    rmSync(directory, { recursive: true });
  });

  it('rejects when the disk hangs, starts no further check, and succeeds when the disk answers again', async () => {
    const layout = new Layout(directory);
    const check = new WritableCheck(layout, EVICTION, 1);
    const goOn = hang(layout);
    const first = await rejection(check.run());
    expect(first)
      .to.be.instanceOf(StoreFailedError)
      .with.nested.property('cause.message')
      .that.includes('does not answer');
    expect(await rejection(check.run())).to.be.instanceOf(StoreFailedError);
    expect(check.isHung).to.equal(true);
    expect(() => {
      check.expectAnswer();
    }).to.throw(StoreFailedError);
    goOn();
    while (check.isHung) await new Promise(setImmediate);
    check.expectAnswer();
    await new WritableCheck(layout, EVICTION).run();
  });

  it('makes the store behave as if it were empty while its disk hangs', async () => {
    const store = new FilesystemPackageStore({ directory, maxBytes: 1_000_000 });
    await store.load();
    const { descriptor, bytes } = makeBlob('application/octet-stream', bytesOf(100_000));
    await (
      await ingest(store, descriptor, sourceOf(bytes))
    ).settled;
    const goOn = hang(Layout.prototype);
    const clock = sinon.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const checked = rejection(store.checkWritable());
    clock.tick(3000);
    await checked;
    clock.restore();
    expect(await store.open(descriptor)).to.equal(undefined);
    expect(await store.refusal(1)).to.equal('store-failed');
    expect(await rejection(store.reserve(descriptor))).to.be.instanceOf(StoreFailedError);
    goOn();
    while ((await store.refusal(1)) !== undefined) await new Promise(setImmediate);
    const reader = await store.open(descriptor);
    if (reader === undefined) throw new Error('not cached any more');
    expect(Buffer.compare(await readAll(reader), bytes)).to.equal(0);
    await reader.close();
    await store.close();
  });
});
