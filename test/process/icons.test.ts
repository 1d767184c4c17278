import { expect } from 'chai';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { archiveOf } from '../support/archive.ts';
import { eventually } from '../support/eventually.ts';
import { FakeKubeApi } from '../support/fake-kube-api.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { makeImage } from '../support/image.ts';
import { publishTags } from '../support/published-tags.ts';
import { ServiceProcess } from '../support/service-process.ts';

const SVG = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>';
const iconOf = (name: string, version = ''): string => `v1/packages/main/${name}/metadata/icon${version}`;

describe('icons of a running service', () => {
  let home: string;
  let api: FakeKubeApi;
  let registry: FakeRegistry;
  let service: ServiceProcess;

  before(async () => {
    home = await mkdtemp(join(tmpdir(), 'icons-'));
    registry = await FakeRegistry.start();
    api = await FakeKubeApi.start();
    const layer = (path: string, content: string): Buffer => gzipSync(archiveOf({ path, content }));
    const image = makeImage([layer('docs/icon.svg', SVG), layer('version.json', '{}')]);
    const bare = makeImage([layer('version.json', '{}')]);
    // Both layers have the same length, so only their digests differ.
    const plain = (content: string): Buffer => archiveOf({ path: 'docs/icon.svg', content });
    const forged = makeImage([plain('<svg>real</svg>')]);
    registry.publish(image, bare);
    registry.script(({ url }, response) => {
      if (!url.endsWith(forged.layer.descriptor.digest)) return false;
      response.end(plain('<svg>fake</svg>'));
      return true;
    });
    publishTags(registry, {
      'packages/console/version:v1.0.0': bare.manifest.bytes,
      'packages/console/version:v1.1.0': image.manifest.bytes,
      'packages/bare/version:v1.0.0': bare.manifest.bytes,
      'packages/documented:v1.0.0': image.manifest.bytes,
      'packages/forged/version:v1.0.0': forged.manifest.bytes,
    });
    await writeFile(join(home, 'kubeconfig'), api.config.exportConfig());
    api.putPackageRepository('main', { repo: `${registry.host}/packages`, scheme: 'HTTP' });
    const dockerCfg = Buffer.from('{"auths":{"other.example":{"auth":"Y2FuYXJ5OmNhbmFyeQ=="}}}').toString('base64');
    api.putPackageRepository('broken', { repo: `${registry.host}/packages`, dockerCfg });
    service = await ServiceProcess.start({
      settings: { credentials: { source: 'kubernetes' } },
      flags: ['--kubeconfig', join(home, 'kubeconfig')],
    });
    await eventually(async () => {
      expect((await service.client(iconOf('console'))).statusCode).to.equal(200);
    });
  });
  after(async () => {
    await service.close();
    await api.close();
    await registry.close();
    await rm(home, { recursive: true });
  });

  it('are those of the latest version, of a version, and of a package that has no repository of versions', async () => {
    for (const path of [iconOf('console'), iconOf('console', '/v1.1.0'), iconOf('documented')]) {
      const { statusCode, body, headers } = await service.client(path);
      expect([statusCode, body], path).to.deep.equal([200, SVG]);
      expect(headers).to.include({ 'content-type': 'image/svg+xml', 'x-content-type-options': 'nosniff' });
    }
    const { statusCode, body } = await service.client(iconOf('console', '/v1.0.0'));
    expect([statusCode, body]).to.deep.equal([404, 'icon not found\n']);
  });

  it('are not cached with the packages', async () => {
    const { body } = await service.client('metrics');
    expect(body).to.match(/registry_packages_proxy_cache_entries 0\n/);
  });

  it('that are missing have their cause in the log, and are counted by route without names', async () => {
    const missing = await service.client(iconOf('bare'), { headers: { 'x-request-id': 'without-icon' } });
    expect([missing.statusCode, missing.body]).to.deep.equal([404, 'icon not found\n']);
    const line = await service.logged('request', { request_id: 'without-icon' });
    expect(JSON.stringify(line['err'])).to.include('image has none of docs/icon.svg');
    const refused = await service.client('v1/packages/broken/console/metadata/icon');
    expect([refused.statusCode, refused.body]).to.deep.equal([404, 'package repository not found\n']);
    await service.logged('object cannot be used, keeping its previous state', {
      resource: 'packagerepositories',
      object: 'broken',
      reason: 'dockerCfg: has no entry for the registry',
    });
    const status = await service.client('status', { headers: { accept: 'text/html' } });
    expect(status.body).to.include('packagerepositories').and.to.include('has no entry for the registry');
    await service.client('v1/packages/Canary-Name/x');
    const { body } = await service.client('metrics');
    expect(body).to.match(/http_requests_total\{route="\/v1\/packages\/icon",method="GET",code="404"\} \d+/);
    expect(body).not.to.match(/console|bare|v1\.1\.0|canary/i);
  });

  it('that are forged are refused before the first byte, and are counted', async () => {
    const { statusCode, body } = await service.client(iconOf('forged'));
    expect([statusCode, body]).to.deep.equal([502, 'failed to fetch package\n']);
    expect(await service.client('metrics').text()).to.include('registry_packages_proxy_digest_mismatch_total 1\n');
  });
});
