import { expect } from 'chai';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from '../support/eventually.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { HeldLayer } from '../support/held-layer.ts';
import { makePackage, type TestImage } from '../support/image.ts';
import { ServiceProcess } from '../support/service-process.ts';

const MIB = 1024 * 1024;
/** A package above 1 MiB is written by a thread, which must handle the full volume. */
const PACKAGE_BYTES = 6 * MIB;
const MOUNT = 'mount -t tmpfs -o "size=$1,mode=700" tmpfs "$0"; shift; exec "$@"';
/** A mount that ends with the process. */
const NAMESPACE = ['unshare', '--map-root-user', '--mount'];

describe('the service on a volume of 24 MiB with a store.maxSize of 64', function () {
  this.timeout(30_000);
  let registry: FakeRegistry;
  let service: ServiceProcess;
  let volume: string;
  before(function () {
    if (spawnSync('unshare', ['--map-root-user', '--mount', 'mount', '-t', 'tmpfs', 'x', '/mnt']).status !== 0)
      this.skip();
  });
  beforeEach(async () => {
    registry = await FakeRegistry.start();
    volume = mkdtempSync(join(tmpdir(), 'full-volume-'));
    const repo = `${registry.host}/deckhouse/ee`;
    service = await ServiceProcess.start({
      settings: {
        store: { directory: join(volume, 'cache'), maxSize: '64Mi' },
        credentials: { registries: [{ repo, default: true, scheme: 'HTTP' }] },
      },
      wrapper: [...NAMESPACE, 'sh', '-euc', MOUNT, volume, String(24 * MIB)],
    });
  });
  afterEach(async () => {
    await service.close();
    await registry.close();
    rmSync(volume, { recursive: true });
  });

  async function fetchPackage({ digest, layer }: TestImage): Promise<string> {
    const { body, headers } = await service.client('package', { searchParams: { digest }, responseType: 'buffer' });
    expect(Buffer.compare(body, layer.bytes)).to.equal(0);
    return String(headers['cache-status']);
  }
  async function metric(name: string): Promise<number> {
    const text = await service.client('metrics').text();
    return Number(new RegExp(`^registry_packages_proxy_${name} (\\S+)$`, 'm').exec(text)?.[1] ?? 0);
  }

  /** Fills the volume until no block is free, as another program can. */
  function fill(): void {
    const place = join(`/proc/${String(service.pid)}/root`, volume);
    mkdirSync(join(place, 'other'), { recursive: true });
    while (statfsSync(place).bavail > 0) {
      try {
        writeFileSync(join(place, 'other/file'), new Uint8Array(4096), { flag: 'a' });
      } catch {
        return;
      }
    }
  }

  it('evicts old packages for new ones, downloads each once, and lowers the limit of the cache', async () => {
    const images = Array.from({ length: 8 }, (_, seed) => makePackage(PACKAGE_BYTES, seed + 1));
    registry.publish(...images);
    for (const image of images) {
      expect(await fetchPackage(image)).to.include('fwd=miss');
      await eventually(async () => {
        expect(await fetchPackage(image)).to.include('hit');
      });
      expect(registry.requests(`/blobs/${image.layer.descriptor.digest}`)).to.have.lengthOf(1);
    }
    expect(await metric('cache_limit_bytes')).to.be.within(PACKAGE_BYTES, 24 * MIB);
    expect(await metric('cache_evictions_total{reason="size"}')).to.be.at.least(5);
    expect((await service.client('readyz')).statusCode).to.equal(200);
  });

  it('delivers one download to all its clients when the volume becomes full during it, and logs this', async () => {
    const image = makePackage(PACKAGE_BYTES, 1);
    registry.publish(image);
    const held = new HeldLayer(registry, image);
    const fetching = Promise.all(Array.from({ length: 5 }, () => fetchPackage(image)));
    await held.sendUpTo(0.5);
    await eventually(async () => {
      expect(await metric('cache_size_bytes')).to.be.at.least(PACKAGE_BYTES / 3);
    });
    fill();
    await held.sendUpTo(1);
    await fetching;
    expect(registry.requests(`/blobs/${image.layer.descriptor.digest}`)).to.have.lengthOf(1);
    expect(await metric('cache_store_failures_total{reason="ENOSPC"}')).to.equal(1);
    // The service has released the room of the download.
    await eventually(async () => {
      fill();
      expect((await service.client('readyz')).statusCode).to.equal(503);
    });
  });
});
