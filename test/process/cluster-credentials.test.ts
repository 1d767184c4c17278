import { expect } from 'chai';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from '../support/eventually.ts';
import { FakeKubeApi } from '../support/fake-kube-api.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { makePackage } from '../support/image.ts';
import { type ServiceOptions, ServiceProcess } from '../support/service-process.ts';

describe('the service with credentials from a cluster', () => {
  let api: FakeKubeApi;
  let registry: FakeRegistry;
  let home: string;
  let options: ServiceOptions;
  let service: ServiceProcess;
  beforeEach(async () => {
    api = await FakeKubeApi.start();
    registry = await FakeRegistry.start();
    home = await mkdtemp(join(tmpdir(), 'cluster-'));
    await writeFile(join(home, 'kubeconfig'), api.config.exportConfig());
    options = {
      settings: { store: { directory: 'cache' }, credentials: { source: 'kubernetes' } },
      flags: ['--kubeconfig', join(home, 'kubeconfig')],
    };
  });
  afterEach(async () => {
    await service.close();
    await registry.close();
    await api.close();
    await rm(home, { recursive: true });
  });

  const image = makePackage(200_000);
  const ask = (digest: string, repository = `${registry.host}/a`) =>
    service.client(`package?${new URLSearchParams({ digest, repository }).toString()}`);
  const ready = () =>
    eventually(async () => {
      expect((await service.client('readyz')).body).to.equal('ok');
    });

  it('is alive but not ready before the first list: it delivers cached packages, and answers 503 for all others', async () => {
    registry.publish(image);
    api.putModuleSource('a', { repo: `${registry.host}/a`, scheme: 'HTTP' });
    service = await ServiceProcess.start(options);
    await ready();
    expect((await ask(image.digest)).statusCode).to.equal(200);
    expect(await service.end()).to.equal(0);
    api.listStatus = 503;

    service = await service.restart(options);
    expect((await ask(image.digest)).headers['cache-status']).to.equal('registry-packages-proxy; hit');
    const response = await ask(makePackage(1, 7).digest);
    expect(response.statusCode).to.equal(503);
    expect(response.headers['retry-after']).to.equal('1');
    expect(response.body).to.equal('registry credentials are not loaded yet\n');
    expect(await service.client('readyz')).to.include({
      statusCode: 503,
      body: 'not listed yet: modulesources, secrets\n',
    });
    expect(await service.client('healthz')).to.include({ statusCode: 200, body: 'ok' });

    api.listStatus = undefined;
    await ready();
    expect((await ask(makePackage(1, 7).digest)).statusCode).to.equal(404);
  });

  it('answers 5xx, which nodes retry, while the address of the default registry is invalid, and requests no other registry', async () => {
    registry.publish(image);
    api.putSecret({ address: registry.host, path: 'deckhouse/ee', scheme: 'http' });
    api.putConfigMap('registry-image-address', { base: 'https://registry.example/a' });
    options = { ...options, settings: { ...options.settings, bootstrap: { listenAddress: '127.0.0.1:0' } } };
    service = await ServiceProcess.start(options);
    await ready();
    const port = Number((await service.logged('bootstrap port is open'))['port']);
    const unusable = 'configuration of the registry cannot be used\n';
    for (const [url, status, body] of [
      [`package?digest=${image.digest}`, 502, unusable],
      ['v1/images/deckhouse-cli/tags', 502, 'failed to list tags\n'],
      ['v1/images/deckhouse-cli/images/v1.0.0', 502, 'failed to resolve version\n'],
      ['v1/images/deckhouse-cli/manifests/v1.0.0', 502, 'failed to read manifest\n'],
      [`http://127.0.0.1:${String(port)}/rpp-get?digest=${image.digest}`, 500, 'internal server error\n'],
    ] as const) {
      const response = url.startsWith('http')
        ? await service.client(url, { prefixUrl: '' })
        : await service.client(url);
      expect([response.statusCode, response.body], url).to.deep.equal([status, body]);
    }
    const reason = 'configmaps registry-image-address: repo: must be host[:port][/path]';
    const { err } = await service.logged('request', { route: '/package', status: 502 });
    expect(JSON.stringify(err)).to.include(reason);
    expect((await service.client(`explain?digest=${image.digest}`)).body).to.include(`"cause": "${reason}"`);
    expect(registry.requests('')).to.deep.equal([]);
    api.putConfigMap('registry-image-address', { base: '' });
    await eventually(async () => {
      expect((await ask(image.digest, '')).statusCode).to.equal(200);
    });
  });

  it('reports an unusable object and an object with an older duplicate, in its log and its metrics', async () => {
    api.putModuleSource('broken', { repo: 'broken.example/m', ca: 'canary' });
    api.putModuleSource('young', { repo: 'a.example/m' }, '2026-02-02T00:00:00Z');
    api.putModuleSource('old', { repo: 'a.example/m' }, '2026-01-01T00:00:00Z');
    service = await ServiceProcess.start(options);
    expect(await service.logged('object cannot be used, keeping its previous state')).to.include({
      level: 'warn',
      resource: 'modulesources',
      object: 'broken',
      reason: 'ca: has no PEM certificate',
    });
    expect(await service.logged('repository belongs to another object')).to.include({
      level: 'warn',
      object: 'young',
      winner: 'old',
      repository: 'a.example/m',
    });
    const metrics = await service.client('metrics').text();
    for (const line of [
      'informer_rejected_total{resource="modulesources",reason="invalid"} 1',
      'informer_rejected_total{resource="modulesources",reason="conflict"} 1',
      'informer_rejected_total{resource="secrets",reason="invalid"} 0',
      'informer_objects{resource="modulesources"} 3',
      'informer_rejected_objects{resource="modulesources"} 2',
    ]) {
      expect(metrics).to.include(`registry_packages_proxy_${line}\n`);
    }
    expect(metrics).to.match(/informer_last_sync_timestamp_seconds\{resource="modulesources"\} 1\d{9}\./);
    api.remove('modulesources', 'young');
    api.putModuleSource('broken', { repo: 'broken.example/m' });
    await eventually(async () => {
      expect(await service.client('metrics').text())
        .to.include('informer_objects{resource="modulesources"} 2\n')
        .and.to.include('informer_rejected_objects{resource="modulesources"} 0\n');
    });
  });
});
