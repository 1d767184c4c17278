/** Another program fills the disk while a package arrives for many clients. */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '../../../test/support/eventually.ts';
import { makeImage } from '../../../test/support/image.ts';
import type { Fault } from '../fault.ts';
import type { FaultBench } from '../fault-bench.ts';
import type { FaultedService } from '../faulted-service.ts';
import { holdingAfter } from '../failpoints/registry/behaviours.ts';
import type { ScriptedRegistry } from '../failpoints/registry/scripted-registry.ts';
import { mountSmallDisk } from '../failpoints/small-disk.ts';
import { tally } from '../traffic/swarm.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const DISK_BYTES = 24 * MIB;
const MAX_BYTES = 64 * MIB;
const PACKAGE_BYTES = 6 * MIB;
const CLIENTS = 10;
const LOOK_MS = 100;
/** The disk becomes full after this many bytes of the package: a few, half of them, or all but a few. */
const ARRIVED = [300 * KIB, 3 * MIB, PACKAGE_BYTES - 10 * KIB];

export const FILLED_DISK: Fault = {
  id: 'F32',
  what: 'Another program fills the disk while 10 clients wait for a package. The store has packages that it can evict, or none.',
  expected:
    'One download; all 10 clients get the right bytes. If the store can evict packages, it does, and caches the new one. If not, the service is not ready, counts a failure with its reason and lowers the limit of the cache; it is ready and caches again when the disk has room.',
  async run(bench) {
    const disk = await mountSmallDisk(bench, DISK_BYTES);
    if ('reason' in disk) return { injected: 0, figures: `skipped: ${disk.reason}`, violations: [] };
    const registry = await bench.startRegistry();
    const settings = { store: { directory: join(disk.path, 'cache') } };
    const service = await bench.startService({ registry, maxBytes: MAX_BYTES, settings });
    const round = new Round(bench, registry, service, join(disk.path, 'filler'));
    for (let times = 0; times < bench.times(2, 50); times++) {
      for (const arrived of ARRIVED) {
        await round.run(arrived, false);
        await round.run(arrived, true);
      }
    }
    const { injected, figures, violations } = round;
    return { injected, figures: figures(), violations };
  },
};

class Round {
  readonly violations: string[] = [];
  injected = 0;
  readonly #bench: FaultBench;
  readonly #registry: ScriptedRegistry;
  readonly #service: FaultedService;
  readonly #filler: string;
  #downloads = 0;
  #evictions = 0;
  #lowestLimit = Infinity;

  constructor(bench: FaultBench, registry: ScriptedRegistry, service: FaultedService, filler: string) {
    this.#bench = bench;
    this.#registry = registry;
    this.#service = service;
    this.#filler = filler;
  }

  readonly figures = (): string =>
    `${String(this.injected)} clients, ${String(this.#downloads)} downloads; ${String(this.#evictions)} packages evicted; lowest limit of the cache: ${(this.#lowestLimit / MIB).toFixed(1)} of ${String(MAX_BYTES / MIB)} MiB`;

  /** `isFull`: the store has no package that it can evict. */
  async run(arrived: number, isFull: boolean): Promise<void> {
    const what = `${isFull ? 'no package can be evicted' : 'packages can be evicted'}, ${String(arrived)} bytes`;
    const before = await this.#service.metrics();
    if (!isFull) await this.#cacheOthers();
    const image = makeImage([this.#bench.random.bytes(PACKAGE_BYTES)]);
    this.#registry.publish(image);
    const filled = Promise.withResolvers<undefined>();
    const held = holdingAfter(arrived, filled.promise, 'goes on');
    this.#registry.script(image.layer.descriptor.digest, ({ place }) => (place === 'blob' ? held : undefined));
    const some = Promise.withResolvers<undefined>();
    const onBytes = (): void => {
      some.resolve(undefined);
    };
    const gotten = Promise.all(Array.from({ length: CLIENTS }, () => this.#service.get(image, { onBytes })));
    await some.promise;
    await this.#arrived();
    this.#fill();
    // The readiness check evicts as a write does. So the store has evicted all that it can, and the other program has filled that room too.
    const readiness = isFull ? await this.#fillUp() : 200;
    filled.resolve(undefined);
    const gots = await gotten;
    const after = await this.#service.metrics();
    const downloads = this.#registry.requests('blob', image.layer.descriptor.digest);
    this.injected += CLIENTS;
    this.#downloads += downloads;
    this.#evictions += after.sum('cache_evictions_total') - before.sum('cache_evictions_total');
    this.#lowestLimit = Math.min(this.#lowestLimit, after.sum('cache_limit_bytes'));
    if (gots.some(({ verdict }) => verdict !== 'whole')) this.#report(what, tally(gots));
    if (downloads !== 1) this.#report(what, `${String(downloads)} downloads`);
    const failures = after.sum('cache_store_failures_total') - before.sum('cache_store_failures_total');
    if (failures !== (isFull ? 1 : 0)) this.#report(what, `${String(failures)} failures counted`);
    if (readiness !== (isFull ? 503 : 200)) this.#report(what, `readiness ${String(readiness)}`);
    if (after.sum('cache_limit_bytes') >= MAX_BYTES) this.#report(what, 'the limit of the cache was not lowered');
    if (isFull) await this.#claimNothing(what);
    rmSync(this.#filler);
    await this.#service.get(image);
    const hit = await this.#service.get(image);
    if (hit.headers['cache-status']?.includes('; hit') !== true) this.#report(what, 'not cached afterwards');
    const ready = await this.#service.probe('/readyz');
    if (ready.status !== 200) this.#report(what, `not ready afterwards: ${ready.body.trim()}`);
    this.#registry.withdraw(image);
  }

  /** The disk is still full, so the next package is not stored, and its answer must not say so. */
  async #claimNothing(what: string): Promise<void> {
    const next = makeImage([this.#bench.random.bytes(MIB)]);
    this.#registry.publish(next);
    const { verdict, headers } = await this.#service.get(next);
    if (verdict !== 'whole') this.#report(what, `the next package: ${verdict}`);
    if (headers['cache-status']?.includes('stored') === true) this.#report(what, 'the next answer says `stored`');
    this.#registry.withdraw(next);
  }

  async #cacheOthers(): Promise<void> {
    const others = Array.from({ length: 2 }, () => makeImage([this.#bench.random.bytes(PACKAGE_BYTES)]));
    this.#registry.publish(...others);
    for (const other of others) await this.#service.get(other);
    this.#registry.withdraw(...others);
  }

  /** Resolves when no more bytes come. */
  async #arrived(): Promise<void> {
    const bytes = async (): Promise<number> => (await this.#service.metrics()).sum('cache_size_bytes');
    for (let before = -1, now = await bytes(); now !== before; now = await bytes()) {
      before = now;
      await sleep(LOOK_MS);
    }
  }

  /** Fills the disk until the store cannot evict any more; returns the status of the readiness probe then. */
  async #fillUp(): Promise<number> {
    let status = 200;
    await eventually(async () => {
      ({ status } = await this.#service.probe('/readyz'));
      this.#fill();
      if (status === 200) throw new Error('a block could still be written');
    });
    return status;
  }

  /** Takes every block that is free now. */
  #fill(): void {
    for (let size = MIB; size >= 4 * KIB;) {
      try {
        writeFileSync(this.#filler, new Uint8Array(size), { flag: 'a' });
      } catch {
        size /= 2;
      }
    }
  }

  #report(what: string, text: string): void {
    this.violations.push(`${what}: ${text}`);
  }
}
