import { expect } from 'chai';
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { stringify } from 'yaml';
import { digestHex } from '../../src/domain/descriptor.ts';
import { eventually } from '../support/eventually.ts';
import { FakeKubeApi } from '../support/fake-kube-api.ts';
import { FakeRegistry, PASSWORD, USERNAME } from '../support/fake-registry.ts';
import { bytesOf, makeImage, makeIndex, makePackage, type TestBlob, type TestImage } from '../support/image.ts';
import { type Ended, type Launcher, Program } from '../support/program.ts';
import { findCanary, ServiceProcess } from '../support/service-process.ts';

const MIB = 1024 * 1024;
const run = promisify(execFile);
const FETCH = join(import.meta.dirname, '../../examples/fetch-package.sh');
const curl = spawnSync('curl', ['--version']).status === 0 ? it : it.skip;
/** A separate file system that ends with the program. */
const smallDisk =
  (path: string): Launcher =>
  (command) => [
    ...['unshare', '--mount', ...(process.getuid?.() === 0 ? [] : ['--map-root-user'])],
    ...['sh', '-c', 'mount -t tmpfs -o size=2m tmpfs "$0" && exec "$@"', path, ...command],
  ];
const canMount = spawnSync('unshare', ['--mount', '--map-root-user', 'true']).status === 0 ? it : it.skip;

describe('mirror', function () {
  // Each test starts the program, which is slow on a machine under load.
  this.timeout(60_000);
  const image = makePackage(4 * MIB);
  let registry: FakeRegistry;
  let directory: string;
  let output: string;
  beforeEach(async () => {
    registry = await FakeRegistry.start({ auth: 'basic' });
    directory = await mkdtemp(join(tmpdir(), 'mirror-'));
    output = join(directory, 'mirror');
    const repo = `${registry.host}/deckhouse/ee`;
    await writeFile(
      join(directory, 'my.yaml'),
      stringify({
        credentials: { registries: [{ repo, default: true, scheme: 'HTTP', username: USERNAME, password: PASSWORD }] },
      }),
    );
  });
  afterEach(async () => {
    await registry.close();
    await rm(directory, { recursive: true });
  });

  const list = async (...lines: readonly string[]): Promise<void> => {
    await writeFile(join(directory, 'packages.txt'), `${lines.join('\n')}\n`);
  };
  const start = (flags: readonly string[] = [], launch?: Launcher): Program => {
    const files = ['--config', join(directory, 'my.yaml'), '--list', join(directory, 'packages.txt')];
    return new Program(['mirror', ...files, '--output', output, ...flags], launch);
  };
  const ended = async (program: Program): Promise<Ended> => {
    const end = await program.end();
    expect(findCanary(end.stdout + end.stderr)).to.equal(undefined);
    return end;
  };
  const mirror = (flags: readonly string[] = [], launch?: Launcher): Promise<Ended> => ended(start(flags, launch));
  const blobs = () => readdir(join(output, 'blobs/sha256'));
  const pathOf = ({ descriptor }: TestBlob) => join(output, 'blobs/sha256', digestHex(descriptor.digest));
  const partOf = ({ descriptor }: TestBlob) => join(output, 'ingest', digestHex(descriptor.digest));
  const expectMirrored = async ({ manifest, blobs: parts }: TestImage): Promise<void> => {
    for (const blob of [manifest, ...parts]) {
      expect(Buffer.compare(await readFile(pathOf(blob)), blob.bytes)).to.equal(0);
    }
    expect((await readdir(output)).sort()).to.deep.equal(['blobs', 'index.json', 'oci-layout']);
  };
  /** Sends the first half of a layer, and then nothing. */
  const stall = ({ layer }: TestImage): void => {
    let isStalled = false;
    registry.script(({ url, headers }, response) => {
      if (isStalled || headers.authorization === undefined || !url.endsWith(layer.descriptor.digest)) return false;
      isStalled = true;
      response.writeHead(200, { 'content-length': layer.bytes.byteLength });
      response.write(layer.bytes.subarray(0, layer.bytes.byteLength / 2));
      return true;
    });
  };
  const whenHalfIsThere = ({ layer }: TestImage): Promise<void> =>
    eventually(async () => {
      expect((await stat(partOf(layer))).size).to.equal(layer.bytes.byteLength / 2);
    }, 30_000);

  curl('delivers packages to a site whose service and node have only the directory', async () => {
    const index = makeIndex([
      { image: makePackage(5000, 5), platform: { os: 'linux', architecture: 'arm64' } },
      { image: makePackage(6000, 6), platform: { os: 'linux', architecture: 'amd64' } },
    ]);
    const several = makeImage([bytesOf(100, 7), bytesOf(70_000, 8)]);
    registry.publish(image, several, index);
    await list('# packages', image.digest, `${several.digest} - modules/ingress`, index.digest);
    const { code, stdout } = await mirror();
    expect({ code, stdout }).to.deep.equal({
      code: 0,
      stdout: `${output} has 3 of 3 packages, 4.1 MiB; 4.1 MiB fetched now\n`,
    });
    await expectMirrored(image);
    expect(registry.requests('/v2/deckhouse/ee/modules/ingress/')).to.have.lengthOf.greaterThan(2);
    await registry.close();

    const site = await ServiceProcess.start({
      settings: {
        registry: { gateway: 'oci-layout', ociLayout: { directory: output } },
        credentials: { registries: [{ repo: 'registry.example/deckhouse', default: true }] },
      },
    });
    const node = join(directory, 'node');
    await mkdir(node);
    for (const [name, { digest }, layer] of [
      ['one', image, image.layer],
      ['two', several, several.layer],
      ['three', index, index.images[1]?.layer],
    ] as const) {
      const env = { ...process.env, PACKAGES_PROXY_ADDRESSES: `127.0.0.1:${String(site.port)}` };
      await run(FETCH, [digest, join(node, name)], { env });
      expect(Buffer.compare(await readFile(join(node, name)), layer?.bytes ?? new Uint8Array())).to.equal(0);
    }
    await site.close();
    registry = await FakeRegistry.start();
  });

  it('fetches the images of the chosen platforms', async () => {
    const [amd64, arm64, s390x] = [makePackage(1000, 2), makePackage(2000, 3), makePackage(3000, 4)];
    const entries = { amd64, arm64, s390x };
    const index = makeIndex(
      Object.entries(entries).map(([architecture, one]) => ({ image: one, platform: { os: 'linux', architecture } })),
    );
    registry.publish(index);
    await list(index.digest);
    expect((await mirror(['--platform', 'linux/amd64,linux/arm64'])).code).to.equal(0);
    await expectMirrored(amd64);
    await expectMirrored(arm64);
    expect(await blobs()).not.to.include(digestHex(s390x.digest));
    expect((await mirror(['--platform', 'all'])).code).to.equal(0);
    await expectMirrored(s390x);
    expect(await mirror(['--platform', 'amd64'])).to.deep.include({
      code: 1,
      stderr: '--platform must be os/architecture, several of them with commas, or all\nSee mirror --help.\n',
    });
  });

  it('fetches only the missing bytes after a kill', async () => {
    registry.publish(image);
    stall(image);
    await list(image.digest);
    const killed = start();
    await whenHalfIsThere(image);
    killed.signal('SIGKILL');
    await killed.end();
    const before = registry.log.length;
    const { code, stdout } = await mirror();
    expect({ code, stdout }).to.deep.equal({
      code: 0,
      stdout: `${output} has 1 of 1 packages, 4.0 MiB; 2.0 MiB fetched now\n`,
    });
    const asked = registry.log.slice(before).filter(({ headers }) => headers.authorization !== undefined);
    expect(asked.map(({ url, headers }) => [url.split('/').at(-1), headers.range])).to.deep.equal([
      [image.layer.descriptor.digest, `bytes=${String(2 * MIB)}-${String(4 * MIB - 1)}`],
    ]);
    await expectMirrored(image);
  });

  it('locks its directory against a second process, and releases it at its end', async () => {
    registry.publish(image);
    stall(image);
    await list(image.digest);
    const first = start();
    await whenHalfIsThere(image);
    const { code, stderr } = await mirror();
    expect({ code, stderr }).to.deep.equal({ code: 1, stderr: `${output}: another process is writing there\n` });
    first.signal('SIGKILL');
    await first.end();
    expect((await mirror()).code).to.equal(0);
  });

  it('exits with 130 after a signal, prints that it can resume, and resumes', async () => {
    registry.publish(image);
    stall(image);
    await list(image.digest);
    const program = start();
    await whenHalfIsThere(image);
    program.signal('SIGINT');
    const { code, stderr } = await ended(program);
    expect(code).to.equal(130);
    expect(stderr).to.include(`${output}: interrupted; the same command goes on from here\n`);
    expect((await mirror()).stdout).to.include('2.0 MiB fetched now');
    await expectMirrored(image);
  });

  it('requests nothing that is already in the directory, and only the new packages of a longer list', async () => {
    registry.publish(image);
    await list(image.digest);
    await mirror();
    const before = registry.log.length;
    const { code, stdout } = await mirror();
    expect(code).to.equal(0);
    expect(stdout).to.include('1 of 1 packages, 4.0 MiB; 0 B fetched now');
    expect(registry.log).to.have.lengthOf(before);
    const fresh = makePackage(MIB, 2);
    registry.publish(fresh);
    await list(image.digest, fresh.digest);
    expect((await mirror()).stdout).to.include('2 of 2 packages, 5.0 MiB; 1.0 MiB fetched now');
    await expectMirrored(fresh);
  });

  it('replaces blobs that were damaged later, also truncated ones', async () => {
    registry.publish(image);
    await list(image.digest);
    await mirror();
    await writeFile(pathOf(image.layer), bytesOf(4 * MIB, 9));
    await writeFile(pathOf(image.manifest), '{}');
    expect((await mirror()).stdout).to.include('4.0 MiB fetched now');
    await expectMirrored(image);
    await rm(pathOf(image.layer));
    await mkdir(join(output, 'ingest'));
    await writeFile(partOf(image.layer), bytesOf(MIB, 9));
    expect((await mirror()).code).to.equal(0);
    await expectMirrored(image);
  });

  it('keeps no blob with wrong bytes, and all others', async () => {
    const forged = makePackage(MIB, 3);
    registry.publish(image, forged);
    registry.script(({ url, headers }, response) => {
      if (headers.authorization === undefined || !url.endsWith(forged.layer.descriptor.digest)) return false;
      response.end(bytesOf(MIB, 4));
      return true;
    });
    const absent = makePackage(10, 10);
    await list(forged.digest, image.digest, absent.digest);
    const { code, stdout, stderr } = await mirror();
    expect(code).to.equal(2);
    expect(stdout).to.equal(`${output} has 1 of 3 packages, 4.0 MiB; 5.0 MiB fetched now\n`);
    const places = join(directory, 'packages.txt');
    expect(stderr).to.include(
      `${places}:1: ${forged.digest}: content does not match its digest: blob from ${registry.host}: sha256:`,
    );
    expect(stderr).to.match(
      new RegExp(`${places}:3: ${absent.digest}: package not found: manifest from .*: status 404 MANIFEST_UNKNOWN\n`),
    );
    expect(await blobs()).not.to.include(digestHex(forged.layer.descriptor.digest));
    const index = JSON.parse(await readFile(join(output, 'index.json'), 'utf8')) as { manifests: { digest: string }[] };
    expect(index.manifests.map(({ digest }) => digest)).to.deep.equal([image.digest]);
    expect(await readdir(output)).not.to.include('ingest');
  });

  it('reports all mistakes of a list before its first request, and creates no directory', async () => {
    await list('jq', image.digest, `${image.digest} - UPPER`);
    const { code, stdout, stderr } = await mirror();
    const places = join(directory, 'packages.txt');
    expect({ code, stdout, stderr }).to.deep.equal({
      code: 1,
      stdout: '',
      stderr: [
        `${places}:1: digest must be "sha256:" and 64 lower-case hex digits\n`,
        `${places}:3: path must be lower-case name components joined by "/"\n`,
      ].join(''),
    });
    expect(registry.log).to.deep.equal([]);
    expect(await readdir(directory)).not.to.include('mirror');
  });

  it('refuses an archive as its directory, and does not change it', async () => {
    await list(image.digest);
    await writeFile(output, 'content');
    execFileSync('tar', ['-cf', `${output}.tar`, '-C', directory, 'mirror']);
    await rename(`${output}.tar`, output);
    const before = await readFile(output);
    const { code, stderr } = await mirror();
    expect(code).to.equal(1);
    expect(stderr).to.equal(
      `${output} is an archive: "mirror --from ARCHIVE --output DIRECTORY" makes a directory of it\n`,
    );
    expect(await readFile(output)).to.deep.equal(before);
  });

  describe('with the registries of a cluster', () => {
    let api: FakeKubeApi;
    let flags: string[];
    beforeEach(async () => {
      api = await FakeKubeApi.start();
      const kubeconfig = join(directory, 'kubeconfig');
      await writeFile(kubeconfig, api.config.exportConfig());
      await writeFile(join(directory, 'my.yaml'), stringify({ credentials: { source: 'kubernetes' } }));
      flags = ['--kubeconfig', kubeconfig];
      await list(`${image.digest} ${registry.host}/modules`);
    });
    afterEach(() => api.close());

    it('uses the credentials of ModuleSources', async () => {
      const auths = { [registry.host]: { username: USERNAME, password: PASSWORD } };
      const dockerCfg = Buffer.from(JSON.stringify({ auths })).toString('base64');
      api.putModuleSource('a', { repo: `${registry.host}/modules`, scheme: 'HTTP', dockerCfg });
      registry.publish(image);
      expect((await mirror(flags)).code).to.equal(0);
      await expectMirrored(image);
    });

    it('waits for the ModuleSources until a signal ends it', async () => {
      api.listStatus = 503;
      const program = start(flags);
      await eventually(async () => {
        expect(api.log).to.have.lengthOf.greaterThan(1);
      }, 30_000);
      program.signal('SIGTERM');
      expect((await ended(program)).code).to.equal(130);
      expect(await readdir(output)).not.to.include('ingest');
    });

    it('reports that the kubeconfig cannot be read', async () => {
      const { code, stderr } = await mirror(['--kubeconfig', join(directory, 'nowhere')]);
      expect(code).to.equal(1);
      expect(stderr).to.match(/^ENOENT: .*nowhere'\n$/);
    });
  });

  canMount('reports a full disk, and resumes when the disk has room', async () => {
    const small = makePackage(1000, 2);
    registry.publish(image, small);
    await list(small.digest, image.digest);
    await mkdir(output);
    const { code, stdout, stderr } = await mirror([], smallDisk(output));
    expect(code).to.equal(2);
    expect(stdout).to.match(/has [01] of 2 packages/);
    expect(stderr).to.match(/local store failed: ENOSPC: .*; the same command goes on from here\n/);
    expect((await mirror()).code).to.equal(0);
    await expectMirrored(image);
  });
});
