import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { stringify } from 'yaml';
import { digestHex } from '../../src/domain/descriptor.ts';
import { eventually } from '../support/eventually.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { bytesOf, makeImage, makeIndex, makePackage, type TestImage } from '../support/image.ts';
import { runProgram } from '../support/program.ts';
import { rejection } from '../support/rejection.ts';
import { ServiceProcess } from '../support/service-process.ts';
import {
  annotateSignature,
  bundleArtifact,
  bundleOf,
  certify,
  makeKeyPair,
  SignatureShelf,
  simpleClaim,
  simpleSigning,
} from '../support/signing.ts';

const run = promisify(execFile);
const CLI = 'v1/images/deckhouse-cli';
const METRIC = 'registry_packages_proxy_signature_verifications_total';
const [trusted, other] = [makeKeyPair(), makeKeyPair()];
const root = certify({ name: 'root', isCa: true });
const amd64 = { os: 'linux', architecture: 'amd64' };

type Mode = 'off' | 'report' | 'enforce';

describe('signatures in a running service', () => {
  const signed = makePackage(100_000, 1);
  const unsigned = makePackage(100_000, 2);
  const annotated = annotateSignature(makePackage(100_000, 3), { leaf: certify({ name: 'signer', issuer: root }) });
  let directory: string;
  let registry: FakeRegistry;
  let shelf: SignatureShelf;
  let service: ServiceProcess;
  let program: TestImage;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'signatures-'));
    await writeFile(join(directory, 'cosign.pub'), trusted.pem);
    await writeFile(join(directory, 'roots.pem'), root.pem);
    registry = await FakeRegistry.start();
    shelf = new SignatureShelf(registry);
    await mkdir(join(directory, 'layer'));
    await writeFile(join(directory, 'layer/rpp-get'), bytesOf(1000));
    const { stdout } = await run('tar', ['-C', join(directory, 'layer'), '-czf', '-', '.'], { encoding: 'buffer' });
    program = makeImage([stdout]);
    registry.publish(signed, unsigned, annotated, program);
    shelf.tag(signed.digest, simpleSigning([simpleClaim(signed.digest, trusted)]));
  });
  afterEach(async () => {
    await service.close();
    await registry.close();
    await rm(directory, { recursive: true });
  });

  const settingsOf = (mode: Mode, more: object = {}): object => ({
    registry: {
      timeouts: { retrySeconds: 0 },
      signature: { mode, keys: join(directory, 'cosign.pub'), roots: join(directory, 'roots.pem') },
    },
    credentials: { registries: [{ repo: `${registry.host}/deckhouse`, default: true, scheme: 'HTTP' }] },
    bootstrap: { listenAddress: '127.0.0.1:0' },
    ...more,
  });
  const start = async (mode: Mode): Promise<void> => {
    service = await ServiceProcess.start({ settings: settingsOf(mode) });
  };
  const restart = async (mode: Mode, settings = settingsOf(mode)): Promise<void> => {
    await service.end();
    service = await service.restart({ settings });
  };
  const ask = async (path: string): Promise<{ status: number; body: string }> => {
    const { statusCode, body } = await service.client(path);
    return { status: statusCode, body };
  };
  const statusOf = async ({ digest }: Pick<TestImage, 'digest'>): Promise<number> =>
    (await ask(`package?digest=${digest}`)).status;
  const counted = async (): Promise<Record<string, number>> => {
    const text = await service.client('metrics').text();
    const values = [...text.matchAll(new RegExp(`^${METRIC}\\{verdict="(\\w+)"\\} (\\d+)$`, 'gm'))];
    return Object.fromEntries(values.map(([, verdict = '', value]) => [verdict, Number(value)]));
  };
  const layerWasAsked = ({ layer }: TestImage): boolean => registry.requests(layer.descriptor.digest).length > 0;

  it('are neither verified nor loaded if verification is disabled', async () => {
    await start('off');
    expect(await statusOf(unsigned)).to.equal(200);
    expect(registry.requests('sha256-')).to.deep.equal([]);
    expect(registry.requests('referrers')).to.deep.equal([]);
    expect(await counted()).to.deep.equal({});
    expect(JSON.parse((await ask(`explain?digest=${unsigned.digest}`)).body)).to.have.property('signature', null);
  });

  it('are counted and logged in report mode, which refuses no package', async () => {
    await start('report');
    expect(await counted()).to.deep.equal({ valid: 0, missing: 0, invalid: 0, unavailable: 0 });
    for (const image of [signed, annotated, unsigned, unsigned]) expect(await statusOf(image)).to.equal(200);
    expect(await counted()).to.deep.equal({ valid: 2, missing: 1, invalid: 0, unavailable: 0 });
    await service.logged('image has no valid signature', { digest: unsigned.digest, signature: 'missing' });
    await service.logged('image is signed', { digest: signed.digest, format: 'cosign', key: trusted.fingerprint });
    const text = (await service.client(`explain?digest=${unsigned.digest}`, { headers: { accept: 'text/plain' } }))
      .body;
    expect(text)
      .to.match(/^verdict {5}would be served \(hit\)/)
      .and.match(/^signature {3}missing \(report\), /m);
  });

  it('are enforced on each route before a layer is fetched', async () => {
    const settings = settingsOf('enforce', { server: { distribution: { enabled: true } } });
    service = await ServiceProcess.start({ settings });
    for (const image of [unsigned, program]) {
      const { status, body } = await ask(`package?digest=${image.digest}`);
      expect({ status, body }).to.deep.equal({ status: 502, body: 'image has no signature\n' });
      expect((await service.client.head(`package?digest=${image.digest}`)).statusCode).to.equal(502);
      expect((await ask(`manifest?digest=${image.digest}`)).status).to.equal(502);
      for (const way of ['images', 'manifests']) {
        expect((await ask(`${CLI}/${way}/${image.digest}`)).status, way).to.equal(502);
      }
      for (const way of [`manifests/${image.digest}`, `blobs/${image.layer.descriptor.digest}`]) {
        const refused = await ask(`v2/deckhouse/${way}`);
        expect([refused.status, refused.body.includes('"DENIED"')], way).to.deep.equal([403, true]);
      }
    }
    const { port } = await service.logged('bootstrap port is open');
    const status = await new Promise((resolve, reject) => {
      const url = `http://127.0.0.1:${String(port)}/rpp-get?digest=${program.digest}`;
      get(url, (response) => {
        resolve(response.resume().statusCode);
      }).on('error', reject);
    });
    expect(status).to.equal(500);
    expect([unsigned, program].map(layerWasAsked)).to.deep.equal([false, false]);
    const document = JSON.parse((await ask(`explain?digest=${unsigned.digest}`)).body) as { verdict: object };
    expect(document.verdict).to.include({ outcome: 'fail', status: 502, code: 'SIGNATURE_INVALID' });
    for (const image of [signed, annotated]) {
      expect(await statusOf(image)).to.equal(200);
      for (const way of [`manifests/${image.digest}`, `blobs/${image.layer.descriptor.digest}`]) {
        expect((await ask(`v2/deckhouse/${way}`)).status, way).to.equal(200);
      }
    }
  });

  it('are enforced for packages that were cached before verification was enabled', async () => {
    await start('off');
    for (const image of [signed, unsigned]) expect(await statusOf(image)).to.equal(200);
    await restart('enforce');
    expect(await statusOf(unsigned)).to.equal(502);
    expect((await service.client(`package?digest=${signed.digest}`)).headers['cache-status']).to.match(/hit/);
  });

  it('are verified again from the cache directory if no registry answers, without trust in the stored claims', async () => {
    await start('enforce');
    for (const image of [signed, annotated]) expect(await statusOf(image)).to.equal(200);
    const settings = settingsOf('enforce');
    await registry.close();
    await restart('enforce', settings);
    for (const image of [signed, annotated]) expect(await statusOf(image)).to.equal(200);
    const folder = join(service.cacheDirectory, 'v1/signatures');
    expect(await readdir(folder)).to.deep.equal([digestHex(signed.digest)]);
    const payload = Buffer.from(simpleClaim(signed.digest, other).payload).toString('base64');
    await writeFile(join(folder, digestHex(signed.digest)), JSON.stringify({ payload, signature: 'AAAA' }));
    await restart('enforce', settings);
    const { status, body } = await ask(`package?digest=${signed.digest}`);
    expect({ status, body }).to.deep.equal({ status: 502, body: 'signature of the image cannot be read\n' });
    registry = await FakeRegistry.start();
  });

  it('are verified again when the keys change, also for a package that is cached or arriving', async () => {
    const large = makePackage(9 * 1024 * 1024, 4);
    registry.publish(large);
    shelf.tag(large.digest, simpleSigning([simpleClaim(large.digest, trusted)]));
    const half = Promise.withResolvers<undefined>();
    registry.script(({ url }, response) => {
      if (!url.endsWith(large.layer.descriptor.digest)) return false;
      response.writeHead(200, { 'content-length': large.layer.bytes.byteLength });
      response.write(large.layer.bytes.subarray(0, 1 << 20));
      void half.promise.then(() => response.end(large.layer.bytes.subarray(1 << 20)));
      return true;
    });
    await start('enforce');
    expect(await statusOf(signed)).to.equal(200);
    const first = service.client(`package?digest=${large.digest}`, { responseType: 'buffer' });
    await eventually(() => {
      expect(layerWasAsked(large)).to.equal(true);
      return Promise.resolve();
    });
    await writeFile(join(directory, 'cosign.pub'), other.pem);
    await eventually(async () => {
      expect(await statusOf(signed)).to.equal(502);
    });
    expect(await statusOf(large)).to.equal(502);
    half.resolve(undefined);
    expect(Buffer.compare((await first).body, large.layer.bytes)).to.equal(0);
    expect(await statusOf(large)).to.equal(502);
    await writeFile(join(directory, 'cosign.pub'), trusted.pem);
    await eventually(async () => {
      expect(await statusOf(large)).to.equal(200);
    });
  });

  it('cover the images of a signed index, by tag and platform', async () => {
    const images = [makePackage(50_000, 5), makePackage(50_000, 6)] as const;
    const index = makeIndex([
      { image: images[0], platform: amd64 },
      { image: images[1], platform: { os: 'darwin', architecture: 'arm64' } },
    ]);
    registry.publish(index);
    registry.script(({ url }, response) => {
      if (!url.endsWith('/manifests/v1.0.0')) return false;
      response.end(index.index.bytes);
      return true;
    });
    shelf.refer(index.digest, [bundleArtifact(bundleOf(index.digest, trusted))], 'tag');
    await start('enforce');
    // An image of a signed index counts as unsigned before a request for the index.
    expect(await statusOf(images[1])).to.equal(502);
    expect((await ask(`${CLI}/images/v1.0.0?platform=darwin-arm64`)).status).to.equal(200);
    expect((await ask(`${CLI}/manifests/v1.0.0`)).status).to.equal(200);
    for (const image of [index, ...images]) expect(await statusOf(image)).to.equal(200);
  });

  it('prevent prefetch from fetching unsigned packages', async () => {
    const list = join(directory, 'packages.txt');
    await writeFile(list, `${signed.digest}\n${unsigned.digest}\n`);
    const file = join(directory, 'my.yaml');
    const store = { directory: join(directory, 'cache') };
    await writeFile(file, stringify(settingsOf('enforce', { store })));
    const { code, stderr } = await runProgram('prefetch', '--config', file, '--list', list);
    expect(code).to.equal(2);
    expect(stderr).to.include('image has no signature');
    expect([signed, unsigned].map(layerWasAsked)).to.deep.equal([true, false]);
    await start('off');
  });

  it('refuse a package with the cause in the log if the registry fails', async () => {
    registry.script(({ url }, response) => {
      if (!url.includes('sha256-') && !url.includes('referrers')) return false;
      response.writeHead(500).end();
      return true;
    });
    await start('enforce');
    const { status, body } = await ask(`package?digest=${unsigned.digest}`);
    expect({ status, body }).to.deep.equal({ status: 502, body: 'signature of the image cannot be read\n' });
    const line = await service.logged('image has no valid signature', { signature: 'unavailable' });
    expect(line['reason']).to.match(/status 500/);
    await restart('report');
    expect(await statusOf(unsigned)).to.equal(200);
  });

  it('require readable keys at the start', async () => {
    await writeFile(join(directory, 'cosign.pub'), 'none');
    const { message } = await rejection(start('enforce'));
    expect(message).to.include('registry.signature.keys').and.include('has no PEM block PUBLIC KEY');
    const nothing = { registry: { signature: { mode: 'enforce' } } };
    expect((await rejection(ServiceProcess.start({ settings: nothing }))).message).to.include('needs keys or roots');
    await start('off');
  });
});
