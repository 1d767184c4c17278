import { expect } from 'chai';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Digest } from '../../src/domain/descriptor.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { bytesOf, makePackage } from '../support/image.ts';
import { findCanary, ServiceProcess } from '../support/service-process.ts';
import { makeKeyPair, SignatureShelf, simpleClaim, simpleSigning } from '../support/signing.ts';

interface Failed {
  readonly verdict: { readonly code: string; readonly cause: string };
}

describe('bytes that are not those of their digest', function () {
  this.timeout(30_000);
  const small = makePackage(1000, 1);
  const large = makePackage(3_000_000, 2);
  let registry: FakeRegistry;
  let storage: FakeRegistry;
  let service: ServiceProcess | undefined;
  beforeEach(async () => {
    registry = await FakeRegistry.start();
    storage = await FakeRegistry.start();
    registry.publish(small, large);
  });
  afterEach(async () => {
    await service?.close();
    service = undefined;
    await registry.close();
    await storage.close();
  });

  async function start(settings: object = {}): Promise<ServiceProcess> {
    service = await ServiceProcess.start({
      settings: {
        credentials: { registries: [{ repo: `${registry.host}/deckhouse`, default: true, scheme: 'HTTP' }] },
        ...settings,
        registry: { timeouts: { retrySeconds: 0 }, ...('registry' in settings ? (settings.registry as object) : {}) },
      },
    });
    return service;
  }

  /** Lets the registry redirect requests for blobs to a storage by signed URLs. */
  function redirectBlobs(): void {
    registry.script(({ url }, response) => {
      if (!url.includes('/blobs/')) return false;
      response.writeHead(307, { location: `${storage.origin}${url}?X-Amz-Signature=canary` }).end();
      return true;
    });
  }

  /** The causes in the log and in `/explain` of a package that fails. */
  async function failure(running: ServiceProcess, digest: Digest): Promise<{ logged: unknown; explained: string }> {
    await running.client(`package?digest=${digest}`).catch(() => undefined);
    const { err } = await running.logged('request', { digest });
    const { verdict } = await running.client(`explain?digest=${digest}`).json<Failed>();
    expect(verdict.code).to.equal('DIGEST_MISMATCH');
    const status = await running.client('status', { headers: { accept: 'application/json' } }).text();
    expect(status).to.include(JSON.stringify(verdict.cause));
    expect(findCanary(running.output + status)).to.equal(undefined);
    return { logged: (err as { causes?: unknown }).causes, explained: verdict.cause };
  }

  for (const [how, image, more] of [
    ['of a few bytes', small, {}],
    ['of many', large, {}],
    ['that the cache cannot take', large, { store: { directory: 'cache', maxSize: '1Mi' } }],
    ['without a cache', small, { store: { enabled: false } }],
  ] as const) {
    it(`are reported with the host of the redirect: a package ${how}`, async () => {
      redirectBlobs();
      storage.script((_, response) => {
        response.end(bytesOf(image.layer.bytes.byteLength, 9));
        return true;
      });
      const { logged, explained } = await failure(await start(more), image.digest);
      const who = `blob from ${storage.host} (redirected by ${registry.host}): sha256:`;
      expect(explained.slice(0, who.length)).to.equal(who);
      expect(logged).to.deep.equal([`UpstreamFault: ${explained}`]);
    });
  }

  it('of a manifest are reported with their host', async () => {
    registry.failTimes('/manifests/', { status: 200, body: small.manifest.bytes });
    const { explained } = await failure(await start(), large.digest);
    expect(explained).to.equal(`manifest from ${registry.host}: ${small.digest}, not ${large.digest}`);
  });

  it('are reported with the mirror of their registry', async () => {
    storage.publish(large);
    storage.script(({ url }, response) => {
      if (!url.includes('/blobs/')) return false;
      response.end(bytesOf(large.layer.bytes.byteLength, 9));
      return true;
    });
    const mirrors = [{ of: '*', endpoint: storage.origin, fallback: false }];
    const running = await start({ registry: { mirrors } });
    await running.client(`package?digest=${large.digest}`).catch(() => undefined);
    for (const line of [await running.logged('request'), await running.logged('blob not kept')])
      expect(JSON.stringify(line['err'])).to.include(`blob from ${storage.host}: sha256:`);
  });

  it('are reported with all hosts of a resumed download', async () => {
    redirectBlobs();
    const half = large.layer.bytes.byteLength / 2;
    storage.script(({ headers }, response) => {
      if (headers.range === undefined) {
        response.writeHead(200, { 'content-length': large.layer.bytes.byteLength });
        response.write(bytesOf(half, 9), () => response.destroy());
      } else {
        response.writeHead(307, { location: `${registry.origin}/rest` }).end();
      }
      return true;
    });
    registry.script(({ url }, response) => {
      if (url !== '/rest') return false;
      response.writeHead(206, {
        'content-range': `bytes ${String(half)}-${String(2 * half - 1)}/${String(2 * half)}`,
        'content-length': half,
      });
      response.end(bytesOf(half, 9));
      return true;
    });
    const { explained } = await failure(await start(), large.digest);
    expect(explained).to.match(
      /^blob from \S+ \(redirected by \S+\): sha256:\w+, not sha256:\w+; bytes before them came from /,
    );
  });

  it('of a signature are reported with their host', async () => {
    const home = await mkdtemp(join(tmpdir(), 'wrong-bytes-'));
    const signer = makeKeyPair();
    const keys = join(home, 'cosign.pub');
    await writeFile(keys, signer.pem);
    const claim = simpleSigning([simpleClaim(small.digest, signer)]);
    new SignatureShelf(registry).tag(small.digest, claim);
    registry.script(({ url }, response) => {
      const blob = claim.blobs.find(({ descriptor }) => url.endsWith(descriptor.digest));
      if (blob === undefined) return false;
      response.end(bytesOf(blob.bytes.byteLength, 9));
      return true;
    });
    const running = await start({ registry: { signature: { mode: 'enforce', keys } } });
    await running.client(`package?digest=${small.digest}`);
    const { reason } = await running.logged('image has no valid signature');
    expect(reason).to.include(`content does not match its digest: blob from ${registry.host}: sha256:`);
    await rm(home, { recursive: true });
  });
});
