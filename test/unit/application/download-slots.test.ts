import { expect } from 'chai';
import sinon from 'sinon';
import { DownloadSlots, type Slot } from '../../../src/application/download-slots.ts';
import { TooManyDownloadsError } from '../../../src/domain/errors.ts';
import type { Registry } from '../../../src/domain/upstream.ts';
import { parseUpstream } from '../../../src/domain/upstream.ts';
import { rejection } from '../../support/rejection.ts';

const never = new AbortController().signal;
const { registry } = parseUpstream({ repo: 'registry.example/a' });
const { registry: other } = parseUpstream({ repo: 'other.example/b' });

describe('DownloadSlots', () => {
  let clock: sinon.SinonFakeTimers;
  let granted: string[];
  beforeEach(() => {
    clock = sinon.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    granted = [];
  });
  afterEach(() => {
    clock.restore();
  });

  /** Notes when the slot is granted. */
  async function take(slots: DownloadSlots, name = '', from: Registry = registry, signal = never): Promise<Slot> {
    const slot = await slots.acquire(from, signal);
    granted.push(name);
    return slot;
  }

  async function fill(slots: DownloadSlots, count: number): Promise<Slot[]> {
    return Promise.all(Array.from({ length: count }, (_, index) => slots.acquire(index % 2 ? registry : other, never)));
  }

  it('grants all slots, and further ones in order when others end', async () => {
    const slots = new DownloadSlots({ max: 4 });
    const held = await fill(slots, 4);
    const waiting = [take(slots, 'first'), take(slots, 'second')];
    await clock.tickAsync(100);
    expect(slots.usage).to.deep.equal({ max: 4, running: 4, idle: 0, queued: 2, revoked: 0 });
    held[1]?.release();
    held[1]?.release();
    await clock.tickAsync(0);
    expect(granted).to.deep.equal(['first']);
    held[0]?.release();
    await Promise.all(waiting);
    expect(granted).to.deep.equal(['first', 'second']);
  });

  it('rejects a request that has waited too long, and removes it from the queue', async () => {
    const slots = new DownloadSlots({ max: 1, maxWaitMs: 8000 });
    const [held] = await fill(slots, 1);
    const outcome = rejection(slots.acquire(registry, never));
    await clock.tickAsync(7999);
    expect(slots.usage.queued).to.equal(1);
    await clock.tickAsync(1);
    expect(await outcome).to.be.instanceOf(TooManyDownloadsError);
    held?.release();
    expect(slots.usage).to.include({ running: 0, queued: 0 });
  });

  it('removes a client that leaves the queue, and one that has left before', async () => {
    const slots = new DownloadSlots({ max: 1 });
    const [held] = await fill(slots, 1);
    const leaving = new AbortController();
    const outcome = rejection(slots.acquire(registry, leaving.signal));
    const reason = new Error('left');
    leaving.abort(reason);
    expect(await outcome).to.equal(reason);
    expect(slots.usage.queued).to.equal(0);
    expect(await rejection(slots.acquire(registry, leaving.signal))).to.equal(reason);
    held?.release();
    expect(slots.usage.running).to.equal(0);
  });

  it('takes the slot of the download that has been idle longest, but not before its grace period is over', async () => {
    const slots = new DownloadSlots({ max: 2, graceMs: 5000 });
    const [first, second] = (await fill(slots, 2)) as [Slot, Slot];
    second.setIdle(true);
    await clock.tickAsync(1000);
    first.setIdle(true);
    const waiting = take(slots);
    await clock.tickAsync(3999);
    expect([granted, slots.usage.idle]).to.deep.equal([[], 2]);
    await clock.tickAsync(1);
    await waiting;
    expect([first.revoked.aborted, second.revoked.aborted]).to.deep.equal([false, true]);
    expect(second.revoked.reason).to.be.instanceOf(TooManyDownloadsError);
    expect(slots.usage).to.deep.equal({ max: 2, running: 2, idle: 1, queued: 0, revoked: 1 });
    second.release();
    expect(slots.usage.running).to.equal(2);
  });

  it('lets a download continue that has a client again, and one if no other waits', async () => {
    const slots = new DownloadSlots({ max: 1, graceMs: 1000, maxWaitMs: 8000 });
    const [held] = (await fill(slots, 1)) as [Slot];
    held.setIdle(true);
    await clock.tickAsync(60_000);
    held.setIdle(false);
    held.setIdle(false);
    const outcome = rejection(slots.acquire(registry, never));
    await clock.tickAsync(8000);
    expect(await outcome).to.be.instanceOf(TooManyDownloadsError);
    expect(held.revoked.aborted).to.equal(false);
  });

  it('takes a slot at once that has been idle for a long time', async () => {
    const slots = new DownloadSlots({ max: 1, graceMs: 1000 });
    const [held] = (await fill(slots, 1)) as [Slot];
    held.setIdle(true);
    await clock.tickAsync(1000);
    await take(slots);
    expect(held.revoked.aborted).to.equal(true);
  });

  it('leaves a quarter of the slots to other registries', async () => {
    const slots = new DownloadSlots({ max: 8 });
    const held = await Promise.all(Array.from({ length: 6 }, () => slots.acquire(registry, never)));
    const seventh = take(slots, 'seventh');
    await take(slots, 'other', other);
    expect(granted).to.deep.equal(['other']);
    held[0]?.release();
    await seventh;
    expect(slots.usage).to.include({ running: 7, queued: 0 });
  });

  it('counts the registries of one host together', async () => {
    const slots = new DownloadSlots({ max: 8 });
    const registries = ['a', 'b'].map((name) => parseUpstream({ repo: `registry.example/${name}` }).registry);
    await Promise.all([...registries, ...registries, ...registries].map((each) => slots.acquire(each, never)));
    void take(slots, 'seventh');
    await take(slots, 'other', other);
    expect(granted).to.deep.equal(['other']);
  });

  it('takes an idle slot of the same registry if it has all of its slots', async () => {
    const slots = new DownloadSlots({ max: 4, graceMs: 1000 });
    const [first, ...held] = (await Promise.all([1, 2, 3].map(() => slots.acquire(registry, never)))) as [
      Slot,
      ...Slot[],
    ];
    const foreign = await slots.acquire(other, never);
    foreign.setIdle(true);
    await clock.tickAsync(500);
    first.setIdle(true);
    const waiting = take(slots);
    await clock.tickAsync(999);
    expect(granted).to.have.lengthOf(0);
    await clock.tickAsync(1);
    await waiting;
    expect([first, foreign, ...held].map(({ revoked }) => revoked.aborted)).to.deep.equal([true, false, false, false]);
  });
});
