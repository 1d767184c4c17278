import { expect } from 'chai';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { Agent, type IncomingMessage, request } from 'node:http';
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from '../support/eventually.ts';
import { FakeRegistry, PASSWORD, USERNAME } from '../support/fake-registry.ts';
import { bytesOf, makeImage, makePackage } from '../support/image.ts';
import { rejection } from '../support/rejection.ts';
import { type ServiceOptions, ServiceProcess } from '../support/service-process.ts';

const MAIN = join(import.meta.dirname, '../../src/infrastructure/main.ts');
const MIB = 1024 * 1024;

describe('the service', () => {
  let registry: FakeRegistry;
  let service: ServiceProcess | undefined;
  beforeEach(async () => {
    registry = await FakeRegistry.start({ auth: 'bearer' });
  });
  afterEach(async () => {
    await service?.close();
    service = undefined;
    await registry.close();
  });

  it('exits with 1 and logs the error if its stop fails', async () => {
    const broken = 'import{Server}from"node:net";Server.prototype.close=()=>{throw new Error("broken")}';
    const environment = { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(broken)}` };
    service = await ServiceProcess.start({ ...options(), environment });
    expect(await service.end()).to.equal(1);
    expect(await service.logged('this is a bug')).to.include({ level: 'fatal' });
  });

  // A signal on the first turn of the event loop behind the handler: most of the program is not loaded yet.
  const signalled = `process.on("newListener", (name) => {
    if (name === "SIGTERM") setImmediate(() => process.kill(process.pid, "SIGTERM"));
  })`;
  const preload = `--import=data:text/javascript,${encodeURIComponent(signalled)}`;

  const container = ['unshare', '--pid', '--fork', '--kill-child'];
  for (const [where, launcher] of [
    ['', []],
    [', as process 1 of a container', container],
  ] as const) {
    it(`exits with 0 when SIGTERM arrives before it has loaded${where}`, function () {
      const [program = '', ...args] = [...launcher, process.execPath, preload, MAIN, '--listen-address', '127.0.0.1:0'];
      if (launcher.length > 0 && spawnSync('unshare', ['--pid', '--fork', 'true']).status !== 0) this.skip();
      const cwd = mkdtempSync(join(tmpdir(), 'service-'));
      const { status, stdout } = spawnSync(program, [...args, '--cache-directory', join(cwd, 'cache')], { cwd });
      rmSync(cwd, { recursive: true });
      expect(status).to.equal(0);
      expect(stdout.toString()).to.match(/"stopped"}\n$/);
    });
  }

  function options(extra: { store?: object; registry?: object; password?: string } = {}): ServiceOptions {
    const repo = `${registry.host}/deckhouse/ee`;
    const password = extra.password ?? PASSWORD;
    return {
      settings: {
        store: { directory: 'cache', ...extra.store },
        registry: { ...extra.registry },
        credentials: { registries: [{ repo, default: true, scheme: 'HTTP', username: USERNAME, password }] },
      },
    };
  }

  it('fetches a package once and then serves it from its cache, also after a restart', async () => {
    const image = makePackage(3 * MIB);
    registry.publish(image);
    service = await ServiceProcess.start(options());
    for (const status of ['fwd=miss; stored', 'hit']) {
      const response = await service.client(`package?digest=${image.digest}`, { responseType: 'buffer' });
      expect(response.headers['cache-status']).to.equal(`registry-packages-proxy; ${status}`);
      expect(Buffer.compare(response.body, image.layer.bytes)).to.equal(0);
    }
    expect(await service.end()).to.equal(0);
    const before = registry.log.length;
    service = await service.restart(options());
    const response = await service.client(`package?digest=${image.digest}`, { responseType: 'buffer' });
    expect(response.headers['cache-status']).to.equal('registry-packages-proxy; hit');
    expect(registry.log).to.have.lengthOf(before);
  });

  it('never exceeds its budget, and evicts the least recently used package', async function () {
    // Two starts and 24 requests compete with a sampler that runs all the time.
    this.timeout(30_000);
    const images = Array.from({ length: 12 }, (_, seed) => makePackage(MIB, seed + 1));
    registry.publish(...images);
    const limited = options({ store: { maxSize: '10M' } });
    service = await ServiceProcess.start(limited);
    const sampler = sample(service.cacheDirectory);
    for (const { digest } of images) await service.client(`package?digest=${digest}`, { responseType: 'buffer' });
    expect(await sampler.max()).to.be.within(8_000_000, 10_000_000);
    expect(await service.end()).to.equal(0);

    service = await service.restart(limited);
    const kept: boolean[] = [];
    for (const { digest } of images.toReversed()) {
      const { headers } = await service.client.head(`package?digest=${digest}`);
      kept.unshift(headers['cache-status'] === 'registry-packages-proxy; hit');
    }
    expect(kept.lastIndexOf(false)).to.be.lessThan(kept.indexOf(true));
    expect(kept.filter(Boolean).length).to.be.at.least(8);
  });

  it('never completes a package with wrong bytes, and does not cache it', async () => {
    const image = makePackage(MIB);
    const forged = image.layer.bytes.slice();
    forged[MIB - 1] = (forged[MIB - 1] ?? 0) ^ 1;
    registry.publish(image);
    registry.script(({ url }, response) => {
      if (!url.includes('/blobs/')) return false;
      response.end(forged);
      return true;
    });
    service = await ServiceProcess.start(options());
    const stream = service.client.stream(`package?digest=${image.digest}`);
    let received = 0;
    stream.on('data', (chunk: Buffer) => (received += chunk.byteLength));
    expect(await rejection(once(stream, 'end'))).to.be.instanceOf(Error);
    expect(received).to.be.at.most(MIB - 64 * 1024);
    const { client, cacheDirectory } = service;
    await eventually(async () => {
      expect(await client('metrics').text()).to.include('registry_packages_proxy_digest_mismatch_total 1\n');
    });
    expect(await readdir(join(cacheDirectory, 'v1/blobs/sha256'))).to.have.lengthOf(1);
    expect(await readdir(join(cacheDirectory, 'v1/ingest'))).to.deep.equal([]);
  });

  it('refuses invalid requests without a request to a registry', async () => {
    service = await ServiceProcess.start(options());
    const { digest } = makePackage(1);
    for (const query of [
      '',
      'digest=latest',
      'digest=sha256:XYZ',
      `digest=${digest}%0d%0a`,
      `digest=${digest}&path=../x`,
    ]) {
      expect((await service.client(`package?${query}`)).statusCode, query).to.equal(400);
    }
    expect((await service.client(`package?digest=${digest}&repository=other.example/a`)).statusCode).to.equal(404);
    expect(registry.log).to.deep.equal([]);
  });

  it('answers 404 for a package that the registry does not have', async () => {
    service = await ServiceProcess.start(options());
    const response = await service.client(`package?digest=${makePackage(1).digest}`);
    expect(response.statusCode).to.equal(404);
    expect(response.body).to.equal('package not found\n');
  });

  it('answers 502 for a password that the registry refuses, and never shows it', async () => {
    service = await ServiceProcess.start(options({ password: 'canary-wrong' }));
    const response = await service.client(`package?digest=${makePackage(1).digest}`);
    expect(response.statusCode).to.equal(502);
    expect(response.body).to.equal('registry refused the configured credentials\n');
    const line = await service.logged('request');
    expect(line).to.include({ level: 'warn', status: 502 });
    expect(line['err'])
      .to.have.property('causes')
      .that.deep.includes(`UpstreamFault: token from ${registry.host}: status 401 UNAUTHORIZED`);
  });

  it('fetches no blob for HEAD, and does not send the authorization of the client to the registry', async () => {
    const image = makePackage(MIB);
    registry.publish(image);
    service = await ServiceProcess.start(options());
    const headers = { authorization: 'Bearer canary-of-the-caller' };
    const response = await service.client.head(`package?digest=${image.digest}`, { headers });
    expect(response.headers['content-length']).to.equal(String(MIB));
    expect(registry.requests('/blobs/')).to.deep.equal([]);
    expect(JSON.stringify(registry.log)).not.to.include('of-the-caller');
  });

  it('counts its requests in metrics with the names of the dashboards, without the names of clients', async () => {
    const image = makePackage(MIB);
    registry.publish(image);
    service = await ServiceProcess.start(options());
    for (let times = 0; times < 3; times++) await service.client(`package?digest=${image.digest}&path=`).buffer();
    await service.client(`package?digest=latest`);
    await service.client('nowhere');
    const metrics = await service.client('metrics').text();
    const value = (name: string): number =>
      Number(
        metrics
          .split('\n')
          .find((line) => line.startsWith(`registry_packages_proxy_${name} `))
          ?.split(' ')[1],
      );
    expect(value('cache_size')).to.be.within(MIB, 2 * MIB);
    expect(value('cache_size_bytes')).to.equal(value('cache_size'));
    expect(value('cache_max_bytes')).to.equal(1024 * MIB);
    expect(value('cache_entries')).to.equal(2);
    expect(value('cache_requests_total{result="miss"}')).to.equal(1);
    expect(value('cache_requests_total{result="hit"}')).to.equal(2);
    expect(value('served_bytes_total{result="miss"}')).to.equal(MIB);
    expect(value('served_bytes_total{result="hit"}')).to.equal(2 * MIB);
    expect(value('served_bytes_total{result="bypass"}')).to.equal(0);
    expect(value('cache_evictions_total{reason="size"}')).to.equal(0);
    expect(value('upstream_requests_total{source="registry",operation="blob",code="ok"}')).to.equal(1);
    expect(value('upstream_bytes_total{source="registry"}')).to.equal(MIB);
    expect(value('downloads_in_flight')).to.equal(0);
    expect(value('digest_mismatch_total')).to.equal(0);
    expect(value('http_requests_total{route="/package",method="GET",code="200"}')).to.equal(3);
    expect(value('http_requests_total{route="/package",method="GET",code="400"}')).to.equal(1);
    expect(value('http_request_duration_seconds_count{route="/package"}')).to.equal(4);
    expect(value('upstream_duration_seconds_count{operation="manifest"}')).to.equal(1);
    expect(metrics).to.match(/^registry_packages_proxy_build_info\{version="\d+\.\d+\.\d+",nodejs="[\d.]+"\} 1$/m);
    expect(metrics).not.to.include(registry.host).and.not.to.include('deckhouse').and.not.to.include('nowhere');
  });

  it('stores nothing if the cache is disabled', async () => {
    const image = makePackage(MIB);
    registry.publish(image);
    service = await ServiceProcess.start({ ...options(), flags: ['--disable-cache'] });
    for (let times = 1; times <= 2; times++) {
      const response = await service.client(`package?digest=${image.digest}`, { responseType: 'buffer' });
      expect(Buffer.compare(response.body, image.layer.bytes)).to.equal(0);
      expect(response.headers['cache-status']).to.equal('registry-packages-proxy; fwd=bypass; detail=store-off');
      expect(registry.requests('/blobs/')).to.have.lengthOf(times);
    }
  });

  it('reports whether it is alive and ready', async () => {
    service = await ServiceProcess.start(options());
    expect(await service.client('healthz').text()).to.equal('ok');
    expect(await service.client('readyz').text()).to.equal('ok');
    const folder = join(service.cacheDirectory, 'v1');
    await rm(folder, { recursive: true });
    expect(await service.client('readyz').text()).to.equal('ok');
    await rm(folder, { recursive: true });
    await writeFile(folder, '');
    const response = await service.client('readyz');
    expect(response.statusCode).to.equal(503);
    expect(response.body).to.equal('the cache directory cannot be written\n');
  });

  it('finishes a running download before it stops', async () => {
    const image = makeImage([bytesOf(30 * MIB)]);
    registry.publish(image);
    service = await ServiceProcess.start(options());
    const stream = service.client.stream(`package?digest=${image.digest}`);
    let received = 0;
    let ended: Promise<number | null> | undefined;
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      ended ??= service.end();
      received += chunk.byteLength;
    }
    expect(received).to.equal(30 * MIB);
    expect(await ended).to.equal(0);
  });

  it('does not wait for a download without a waiting client', async () => {
    const image = makePackage(MIB);
    registry.publish(image);
    registry.script(({ url }, response) => {
      if (!url.includes('/blobs/')) return false;
      response.writeHead(200, { 'content-length': MIB });
      return response.write(image.layer.bytes.subarray(0, 200_000));
    });
    service = await ServiceProcess.start(options());
    const stream = service.client.stream(`package?digest=${image.digest}`).on('error', () => undefined);
    await once(stream, 'data');
    stream.destroy();
    expect(await service.end()).to.equal(0);
    expect(await readdir(join(service.cacheDirectory, 'v1/ingest'))).to.deep.equal([]);
  });

  it('opens no inspector after a signal', async () => {
    service = await ServiceProcess.start(options());
    process.kill(service.pid, 'SIGUSR1');
    expect((await service.client('healthz')).statusCode).to.equal(200);
    expect(await service.end()).to.equal(0);
    expect(service.output).not.to.include('Debugger');
  });

  it('has the same number of metrics before and after 10 000 different requests', async () => {
    service = await ServiceProcess.start(options());
    const { client, port } = service;
    const agent = new Agent({ keepAlive: true, maxSockets: 16 });
    const methods = ['GET', 'HEAD', 'POST', 'PROPFIND', 'M-SEARCH'];
    const ask = async (index: number): Promise<void> => {
      const hex = index.toString(16).padStart(64, '0');
      const path = [
        `/package?digest=sha256:${hex}&repository=r${String(index)}.example/a`,
        `/package?digest=${hex}`,
        `/x${hex}`,
        `/healthz?${hex}`,
      ][index % 4];
      const headers = { 'user-agent': `agent-${hex}`, 'x-request-id': hex, host: `${hex}.example` };
      const sent = request({ port, path, method: methods[index % methods.length], headers, agent }).end();
      const [response] = (await once(sent, 'response')) as [IncomingMessage];
      await once(response.resume(), 'end');
    };
    const series = async (): Promise<number> =>
      (await client('metrics').text()).split('\n').filter((line) => line.startsWith('registry_packages_proxy_')).length;
    /** All kinds of requests there are. */
    for (let index = 0; index < 20; index++) await ask(index);
    await client('metrics');
    const before = await series();
    let next = 20;
    await Promise.all(
      Array.from({ length: 16 }, async () => {
        while (next < 10_000) await ask(next++);
      }),
    );
    agent.destroy();
    expect(await series()).to.equal(before);
  }).timeout(60_000);

  describe('that cannot start', () => {
    // The processes are outside a cluster, also if the tests run inside one.
    const env = { ...process.env, KUBERNETES_SERVICE_HOST: '' };
    const run = (...args: string[]) => spawnSync(process.execPath, [MAIN, ...args], { encoding: 'utf8', env });

    it('reports all mistakes of its settings', async () => {
      const directory = await mkdtemp(join(tmpdir(), 'service-'));
      await writeFile(join(directory, 'my.yaml'), 'store: { maxSize: plenty }\nnonsense: 1\n');
      const { status, stderr } = run('--config', join(directory, 'my.yaml'));
      await rm(directory, { recursive: true });
      expect(status).to.equal(1);
      expect(stderr).to.match(/my\.yaml:1: store\.maxSize: .*\n.*my\.yaml:2: nonsense: is not a setting\n/);
    });

    it('refers to --help for a wrong flag, and prints help and version', () => {
      expect(run('--nonsense')).to.include({ status: 1 }).and.to.have.property('stderr').that.includes('See --help.');
      expect(run('--help').stdout).to.include('Usage:');
      expect(run('--version').stdout).to.match(/^\d+\.\d+\.\d+\n$/);
    });

    it('reports that it runs outside a cluster, and that a kubeconfig has no cluster', async () => {
      const directory = await mkdtemp(join(tmpdir(), 'service-'));
      const settings = join(directory, 'my.yaml');
      await writeFile(settings, 'credentials: { source: kubernetes }\nstore: { directory: cache }\n');
      await writeFile(join(directory, 'kubeconfig'), 'apiVersion: v1\nkind: Config\n');
      const nowhere = run('--config', settings);
      const unnamed = run('--config', settings, '--kubeconfig', join(directory, 'kubeconfig'));
      await rm(directory, { recursive: true });
      expect(nowhere).to.include({ status: 1 }).and.to.have.property('stdout').that.includes('not in a cluster');
      expect(unnamed).to.include({ status: 1 }).and.to.have.property('stdout').that.includes('has no server');
    });

    it('reports an address in use, an address of another machine, and a cache directory that is a file', async function () {
      this.timeout(30_000);
      const directory = await mkdtemp(join(tmpdir(), 'service-'));
      const [inUse, elsewhere] = [registry.host, '192.0.2.1:5080'].map((address) =>
        run('--listen-address', address, '--cache-directory', directory),
      );
      await rm(directory, { recursive: true });
      expect(inUse).to.include({ status: 1 });
      const end = 'another process listens there: end it, or set another server.listenAddress';
      expect(inUse?.stdout).to.include(`cannot listen on ${registry.host} (EADDRINUSE): ${end}`);
      expect(inUse?.stdout).not.to.include('stack');
      expect(elsewhere?.stdout).to.include('cannot listen on 192.0.2.1:5080 (EADDRNOTAVAIL): this machine has no such');
      const noDirectory = run('--cache-directory', MAIN);
      expect(noDirectory).to.include({ status: 1 });
      expect(noDirectory.stdout).to.include(`${MAIN} is not a directory`);
    });
  });
});

/** Measures every few milliseconds how many bytes the files below a directory use on the volume. */
function sample(directory: string): { max: () => Promise<number> } {
  let max = 0;
  let running = true;
  const loop = async (): Promise<void> => {
    while (running) {
      const names = await readdir(directory, { recursive: true });
      const sizes = names.map((name) =>
        stat(join(directory, name)).then(
          (stats) => (stats.isFile() ? stats.blocks * 512 : 0),
          () => 0,
        ),
      );
      max = Math.max(
        max,
        (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0),
      );
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  const done = loop();
  return {
    max: async () => {
      running = false;
      await done;
      return max;
    },
  };
}
