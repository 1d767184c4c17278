import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { FakeRegistry } from '../support/fake-registry.ts';
import { makeImage, type TestImage } from '../support/image.ts';
import { rejection } from '../support/rejection.ts';
import { ServiceProcess } from '../support/service-process.ts';

const run = promisify(execFile);
const SCRIPT = join(import.meta.dirname, '../../examples/bootstrap.sh');
const UUID = '0f0e6a2c-1f43-4c6c-a0f9-2c2b6d0c4c11';
const PROGRAM = '#!/bin/sh\n[ "$1" = version ] && echo 1.0.0\n';

describe('the bootstrap port of a running service', () => {
  let directory: string;
  let registry: FakeRegistry;
  let service: ServiceProcess;
  let image: TestImage;
  let broken: TestImage;

  async function imageOf(program: string): Promise<TestImage> {
    const root = await mkdtemp(join(directory, 'root-'));
    await mkdir(join(root, 'opt/deckhouse/bin'), { recursive: true });
    await writeFile(join(root, 'opt/deckhouse/bin/rpp-get'), program, { mode: 0o755 });
    const { stdout } = await run('tar', ['-C', root, '-czf', '-', '.'], { encoding: 'buffer' });
    return makeImage([stdout]);
  }

  function serve(bootstrap: object): Promise<ServiceProcess> {
    const registries = [{ repo: `${registry.host}/deckhouse`, default: true, scheme: 'HTTP' }];
    return ServiceProcess.start({ settings: { bootstrap, credentials: { registries } } });
  }

  function bootstrap(digest: string, ...ports: readonly number[]): Promise<{ stderr: string }> {
    const addresses = ports.map((port) => `127.0.0.1:${String(port)}`).join(',');
    return run(SCRIPT, [digest, join(directory, 'rpp-get')], {
      env: {
        ...process.env,
        PACKAGES_PROXY_BOOTSTRAP_ADDRESSES: addresses,
        PACKAGES_PROXY_BOOTSTRAP_CLUSTER_UUID: UUID,
        PACKAGES_PROXY_ATTEMPTS: '1',
      },
    });
  }

  async function bootstrapPort(): Promise<number> {
    return Number((await service.logged('bootstrap port is open'))['port']);
  }

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'bootstrap-'));
    registry = await FakeRegistry.start();
    image = await imageOf(PROGRAM);
    broken = await imageOf('#!/bin/sh\nexit 1\n');
    registry.publish(image, broken);
  });

  after(async () => {
    await registry.close();
    await rm(directory, { recursive: true });
  });

  afterEach(() => service.close());

  it('serves rpp-get to a new node', async () => {
    service = await serve({ listenAddress: '127.0.0.1:0', clusterUUID: ` /${UUID}/ ` });
    const port = await bootstrapPort();
    await bootstrap(image.digest, 1, port);
    expect(await readFile(join(directory, 'rpp-get'), 'utf8')).to.equal(PROGRAM);
    expect((await stat(join(directory, 'rpp-get'))).mode & 0o111).to.equal(0o111);
    const { status, client } = await service.logged('request', { route: '/rpp-get' });
    expect([status, client]).to.deep.equal([200, '127.0.0.1']);
    const metrics = await service.client('metrics').text();
    expect(metrics).to.match(/http_requests_total\{route="\/rpp-get",method="GET",code="200"\} 1/);
    expect(metrics).to.include('\nregistry_packages_proxy_bootstrap_open 1\n');
    expect(service.output).not.to.include(UUID);
    // The main port does not have the route of the bootstrap port.
    expect((await service.client(`${UUID}/rpp-get?digest=${image.digest}`)).statusCode).to.equal(404);
  });

  it('does not keep a program that does not run, and reports the answer of each master', async () => {
    service = await serve({ listenAddress: '127.0.0.1:0', clusterUUID: UUID });
    const error = await rejection(bootstrap(broken.digest, await bootstrapPort()));
    expect(String(error)).to.include('rpp-get does not run').and.to.include('not available at any address');
    const unknown = await rejection(bootstrap(`sha256:${'0'.repeat(64)}`, await bootstrapPort()));
    expect(String(unknown)).to.include('404, package not found');
  });

  it('serves packages while another process holds that port, and is not ready', async () => {
    const other: Server = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const address = other.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    service = await serve({ listenAddress: `127.0.0.1:${String(address.port)}`, clusterUUID: UUID });
    await service.logged('bootstrap port cannot be opened');
    const ready = await service.client('readyz');
    expect([ready.statusCode, ready.body]).to.deep.equal([503, ready.body]);
    expect(ready.body).to.include('bootstrap port cannot be opened').and.to.include('EADDRINUSE');
    expect(await service.client('metrics').text()).to.include('\nregistry_packages_proxy_bootstrap_open 0\n');
    expect((await service.client(`package?digest=${image.digest}`)).statusCode).to.equal(200);
    await new Promise((resolve) => other.close(resolve));
  });

  it('does not start a port for all machines without the UUID of the cluster', async () => {
    const error = await rejection(serve({ listenAddress: ':0' }));
    expect(String(error)).to.include('bootstrap.clusterUUID').and.to.include('bootstrap.allowWithoutUUID');
    service = await serve({ listenAddress: '127.0.0.1:0' });
    expect(await bootstrapPort()).to.be.greaterThan(0);
  });
});
