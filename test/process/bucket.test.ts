import { expect } from 'chai';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { ACCESS_KEY, BUCKET, FakeBucket, refuse, SECRET_KEY } from '../support/fake-bucket.ts';
import { makePackage } from '../support/image.ts';
import { runProgram } from '../support/program.ts';
import { ServiceProcess } from '../support/service-process.ts';

const image = makePackage(700_000);

describe('a site with a bucket and without a registry', function () {
  this.timeout(60_000);
  let server: FakeBucket;
  let directory: string;
  beforeEach(async () => {
    server = await FakeBucket.start();
    directory = await mkdtemp(join(tmpdir(), 'bucket-'));
    await mkdir(join(directory, 'keys'));
    await writeFile(join(directory, 'keys/accessKeyID'), ACCESS_KEY);
    await writeFile(join(directory, 'keys/secretAccessKey'), SECRET_KEY);
  });
  afterEach(async () => {
    await server.close();
    await rm(directory, { recursive: true });
  });

  const settings = (bucket: object = {}): object => ({
    registry: {
      gateway: 'bucket',
      timeouts: { retrySeconds: 0 },
      bucket: {
        endpoint: server.endpoint.origin,
        name: BUCKET,
        credentials: { directory: join(directory, 'keys') },
        ...bucket,
      },
    },
    credentials: { registries: [{ repo: 'registry.example/deckhouse', default: true }] },
  });
  const check = async (bucket: object = {}): ReturnType<typeof runProgram> => {
    const file = join(directory, 'settings.yaml');
    await writeFile(file, stringify({ store: { directory: 'cache', maxSize: '1Mi' }, ...settings(bucket) }));
    return runProgram('check-config', '--config', file);
  };

  it('serves packages from the bucket, caches them, and writes nothing to the bucket', async () => {
    server.publish(image);
    const service = await ServiceProcess.start({ settings: settings() });
    await service.logged('bucket can be used', { bucket: server.endpoint.host });
    for (let times = 0; times < 2; times++) {
      const { statusCode, rawBody } = await service.client('package', {
        searchParams: { digest: image.digest },
        responseType: 'buffer',
      });
      expect(statusCode).to.equal(200);
      expect(Buffer.compare(rawBody, image.layer.bytes)).to.equal(0);
    }
    const metrics = await service.client('metrics').text();
    expect(metrics).to.include('registry_packages_proxy_bucket_usable 1\n');
    expect(metrics).to.include('registry_packages_proxy_cache_requests_total{result="hit"} 1\n');
    await service.close();
    expect(server.log.map(({ method }) => method)).to.deep.equal(['GET', 'GET', 'GET']);
  });

  it('answers 404 for a missing package', async () => {
    const service = await ServiceProcess.start({ settings: settings() });
    const { statusCode } = await service.client('package', { searchParams: { digest: image.digest } });
    expect(statusCode).to.equal(404);
    await service.close();
  });

  it('starts and is ready while the bucket refuses the keys, logs this once, and serves with new keys', async () => {
    server.publish(image);
    server.accessKeys.clear();
    server.accessKeys.add('AKIDNEW');
    const service = await ServiceProcess.start({ settings: settings() });
    const { code, err } = await service.logged('bucket cannot be used');
    expect(code).to.equal('start');
    expect(JSON.stringify(err)).to.include('status 403 InvalidAccessKeyId');
    expect((await service.client('readyz')).statusCode).to.equal(200);
    const ask = async (): Promise<number> =>
      (await service.client('package', { searchParams: { digest: image.digest } })).statusCode;
    expect([await ask(), await ask()]).to.deep.equal([502, 502]);
    expect(await service.client('metrics').text()).to.include('registry_packages_proxy_bucket_usable 0\n');
    await writeFile(join(directory, 'keys/accessKeyID'), 'AKIDNEW');
    expect(await ask()).to.equal(200);
    expect(await service.client('metrics').text()).to.include('registry_packages_proxy_bucket_usable 1\n');
    await service.end();
    const lines = service.lines.filter(({ msg }) => msg === 'bucket cannot be used');
    expect(lines.map(({ code: each }) => each)).to.deep.equal(['start', 'InvalidAccessKeyId']);
    await service.close();
  });

  it('completes no response with wrong bytes, also if the metadata of the object matches them', async () => {
    server.publish(image);
    const { digest } = image.layer.descriptor;
    server.put(digest, Buffer.alloc(image.layer.bytes.byteLength, 1), false);
    const service = await ServiceProcess.start({ settings: settings() });
    const asked = service.client('package', { searchParams: { digest: image.digest } });
    const outcome = await asked.then(
      ({ statusCode }) => statusCode,
      () => 'cut',
    );
    expect(outcome).to.equal('cut');
    await service.close();
  });

  it('is checked by check-config, which reports the error of the bucket', async () => {
    expect(await check()).to.deep.equal({ code: 0, stdout: 'the settings are right\n', stderr: '' });
    const wrong: [object, RegExp][] = [
      [{ name: 'absent' }, /^warning: registry\.bucket: cannot be used: .*status 404 NoSuchBucket\)?\n$/],
      [{ credentials: { directory: join(directory, 'none') } }, /^warning: .*none has no keys of the bucket\)?\n$/],
    ];
    for (const [bucket, expected] of wrong) {
      const { code, stderr } = await check(bucket);
      expect(code).to.equal(0);
      expect(stderr).to.match(expected);
    }
    server.script((_request, response) => {
      refuse(response, 403, 'AccessDenied');
      return true;
    });
    expect((await check()).stderr).to.match(/status 403 AccessDenied/);
  });

  it('refuses incomplete or invalid settings of the bucket', async () => {
    for (const [bucket, expected] of [
      [{ endpoint: '' }, 'registry.bucket.endpoint: is needed for registry.gateway: bucket'],
      [{ endpoint: 's3.example' }, 'registry.bucket.endpoint: must be an http or https URL'],
      [{ prefix: 'no-slash' }, 'registry.bucket.prefix: must be empty or a path that ends with a slash'],
      [{ ca: 'no PEM' }, 'registry.bucket.ca: has no PEM certificate'],
    ] as const) {
      const { code, stderr } = await check(bucket);
      expect(code).to.equal(1);
      expect(stderr).to.include(expected);
    }
    const { code, stderr } = await check({ credentials: { source: 'web-identity' } });
    expect(code).to.equal(2);
    expect(stderr).to.include('registry.bucket.credentials.roleARN is empty, and the environment has no AWS_ROLE_ARN');
  });
});
