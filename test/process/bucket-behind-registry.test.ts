import { expect } from 'chai';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ACCESS_KEY, BUCKET, FakeBucket, SECRET_KEY } from '../support/fake-bucket.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { eventually } from '../support/eventually.ts';
import { makePackage, type TestBlob, type TestImage } from '../support/image.ts';
import { ServiceProcess } from '../support/service-process.ts';

const image = makePackage(700_000);
let seed = 100;

interface Placed {
  readonly asked_before: readonly { readonly rests: { readonly until: string; readonly reason: string } | null }[];
}

describe('replicas that share a bucket', function () {
  this.timeout(60_000);
  let registry: FakeRegistry;
  let bucket: FakeBucket;
  let directory: string;
  let repo: string;
  beforeEach(async () => {
    registry = await FakeRegistry.start();
    registry.publish(image);
    repo = `${registry.host}/modules`;
    bucket = await FakeBucket.start();
    directory = await mkdtemp(join(tmpdir(), 'bucket-'));
    await writeFile(join(directory, 'accessKeyID'), ACCESS_KEY);
    await writeFile(join(directory, 'secretAccessKey'), SECRET_KEY);
  });
  afterEach(async () => {
    await bucket.close();
    await registry.close();
    await rm(directory, { recursive: true });
  });

  const start = (options: object = {}, store: object = {}): Promise<ServiceProcess> =>
    ServiceProcess.start({
      settings: {
        store: { directory: 'cache', maxSize: '1Gi', ...store },
        registry: {
          timeouts: { retrySeconds: 0 },
          bucket: {
            endpoint: bucket.endpoint.origin,
            name: BUCKET,
            credentials: { directory },
            ...options,
          },
        },
        credentials: { registries: [{ repo, default: true, scheme: 'HTTP' }] },
      },
    });
  const publish = (): TestImage => {
    const published = makePackage(700_000, ++seed);
    registry.publish(published);
    bucket.publish(published);
    return published;
  };
  const fetch = async (service: ServiceProcess): Promise<string> => {
    const { statusCode, rawBody, headers } = await service.client('package', {
      searchParams: { digest: image.digest },
      responseType: 'buffer',
    });
    expect(statusCode).to.equal(200);
    expect(Buffer.compare(rawBody, image.layer.bytes)).to.equal(0);
    return String(headers['cache-status']).replace('registry-packages-proxy; ', '');
  };
  const isWritten = (): Promise<void> =>
    eventually(async () => {
      for (const digest of [image.digest, image.layer.descriptor.digest])
        expect(bucket.get(digest)).not.to.equal(undefined);
    });

  it('fetch a package from the registry once; the second replica reads it from the bucket, also without a registry', async () => {
    const first = await start();
    expect(await fetch(first)).to.equal('fwd=miss; stored');
    await isWritten();
    const metrics = await first.client('metrics').text();
    expect(metrics).to.include('registry_packages_proxy_bucket_writes_total{result="written"} 2\n');
    await first.close();
    const { length } = registry.log;
    const second = await start();
    expect(await fetch(second)).to.equal('fwd=miss; stored; detail=bucket');
    expect(await fetch(second)).to.equal('hit');
    expect(registry.log).to.have.lengthOf(length);
    await second.close();
    await registry.close();
    const third = await start();
    await fetch(third);
    const puts = bucket.log.filter(({ method }) => method === 'PUT');
    await third.close();
    expect(puts).to.have.lengthOf(2);
    registry = await FakeRegistry.start();
  });

  it('show the bucket in /explain and /status, and until when it is asked last', async () => {
    bucket.script((_request, response) => {
      response.writeHead(500).end();
      return true;
    });
    const service = await start();
    await fetch(service);
    const { host } = bucket.endpoint;
    const query = { searchParams: { digest: image.digest } };
    const { configuration } = await service.client('explain', query).json<{ configuration: Placed }>();
    const { asked_before: shown } = await service.client('status?format=json').json<Placed>();
    for (const [place] of [configuration.asked_before, shown]) {
      expect(place).to.deep.include({ kind: 'bucket', host, failing: true, distrusted: 0 });
      expect(Date.parse(place?.rests?.until ?? '')).to.be.greaterThan(Date.now());
      expect(place?.rests?.reason).to.include('status 500');
    }
    const text = await service.client('explain', { ...query, headers: { accept: 'text/plain' } }).text();
    expect(text).to.match(new RegExp(`^before it   bucket ${host}, asked last for another \\d+ s$`, 'm'));
    await service.close();
  });

  it('without a cache read a wrong object once, replace it, and read all other objects from the bucket', async () => {
    const service = await start({}, { enabled: false });
    const [short, forged, right] = [publish(), publish(), publish()];
    bucket.put(short.layer.descriptor.digest, short.layer.bytes.subarray(1), false);
    bucket.put(forged.layer.descriptor.digest, short.layer.bytes, false);
    const get = async ({ digest, layer }: TestImage): Promise<string> => {
      const options = { searchParams: { digest }, responseType: 'buffer' } as const;
      const answer = await service.client('package', options).catch(() => undefined);
      return answer !== undefined && Buffer.compare(answer.body, layer.bytes) === 0 ? 'right' : 'cut';
    };
    const isThere = ({ descriptor: { digest }, bytes }: TestBlob): boolean =>
      Buffer.compare(bucket.get(digest) ?? Buffer.alloc(0), bytes) === 0;
    // The wrong size is found before the first byte.
    expect(await get(short)).to.equal('right');
    expect([await get(forged), await get(forged)]).to.deep.equal(['cut', 'right']);
    for (const { layer } of [short, forged]) {
      await eventually(async () => expect(isThere(layer)).to.equal(true));
    }
    const { length } = registry.log;
    for (const each of [short, forged, right]) expect(await get(each)).to.equal('right');
    expect(registry.log).to.have.lengthOf(length);
    const metrics = await service.client('metrics').text();
    expect(metrics).to.include('source_failing{source="bucket",host="' + bucket.endpoint.host + '"} 0\n');
    await service.close();
  });

  it('write no object if the settings allow only reads', async () => {
    const service = await start({ write: false });
    await fetch(service);
    await service.close();
    expect(bucket.log.map(({ method }) => method)).not.to.include.members(['PUT', 'HEAD']);
  });

  it('do not delay clients while the bucket accepts no PUT, stop the PUT at SIGTERM, and write the object later', async () => {
    let isStuck = true;
    bucket.script(({ method }) => method === 'PUT' && isStuck);
    const service = await start();
    await fetch(service);
    await eventually(async () => expect(bucket.log.some(({ method }) => method === 'PUT')).to.equal(true));
    const began = performance.now();
    expect(await service.end('SIGTERM')).to.equal(0);
    expect(performance.now() - began).to.be.lessThan(20_000);
    await service.close();
    isStuck = false;
    const next = await start();
    await fetch(next);
    await isWritten();
    await next.close();
  });

  it('leave no partial object when a replica is killed during a PUT', async () => {
    bucket.script(({ method }) => method === 'PUT');
    const service = await start();
    await fetch(service);
    await eventually(async () => expect(bucket.log.some(({ method }) => method === 'PUT')).to.equal(true));
    await service.end('SIGKILL');
    await service.close();
    expect(bucket.get(image.digest)).to.equal(undefined);
    const next = await start({ write: false });
    await fetch(next);
    await next.close();
  });
});
