import { expect } from 'chai';
import { execFile, spawnSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { runCommandLine } from '../../src/adapters/cli/command-line.ts';
import { digestHex, digestOf } from '../../src/domain/descriptor.ts';
import { COMMANDS } from '../../src/infrastructure/commands/table.ts';
import { FakeTerminal } from '../support/fake-terminal.ts';
import { bytesOf, makeIndex, makePackage, type TestBlob } from '../support/image.ts';
import { dockerArchive, layoutArchive, listedImage, listedIndex, podmanArchive } from '../support/image-archive.ts';
import { ServiceProcess } from '../support/service-process.ts';

const run = promisify(execFile);
const FETCH = join(import.meta.dirname, '../../examples/fetch-package.sh');
const curl = spawnSync('curl', ['--version']).status === 0 ? it : it.skip;

describe('mirror of an archive', function () {
  // Each test starts the program, which is slow on a machine under load.
  this.timeout(60_000);
  const image = makePackage(2_000_000);
  let directory: string;
  let archive: string;
  let output: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'mirror-archive-'));
    [archive, output] = [join(directory, 'images.tar'), join(directory, 'mirror')];
  });
  afterEach(() => rm(directory, { recursive: true }));

  const mirror = async (...flags: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> => {
    const terminal = new FakeTerminal();
    const code = await runCommandLine(['mirror', '--from', archive, '--output', output, ...flags], terminal, COMMANDS);
    return { code, stdout: terminal.stdout.text, stderr: terminal.stderr.text };
  };
  const blobs = () => readdir(join(output, 'blobs/sha256'));
  const has = async ({ descriptor, bytes }: TestBlob): Promise<void> => {
    const found = await readFile(join(output, 'blobs/sha256', digestHex(descriptor.digest)));
    expect(Buffer.compare(found, bytes)).to.equal(0);
  };

  curl('delivers an image saved by Docker to a node by the printed digests', async () => {
    const layer = bytesOf(70_000, 5);
    const digests: string[] = [];
    for (const bytes of [
      dockerArchive({ tags: ['jq:1.7'], layers: [bytesOf(100), layer] }),
      podmanArchive({ tags: ['jq:1.7'], layers: [bytesOf(200), layer] }),
      layoutArchive(listedImage(image, 'registry.example.com/jq:1.7')),
    ]) {
      await writeFile(archive, bytes);
      const { code, stdout, stderr } = await mirror();
      expect(code, stderr).to.equal(0);
      expect(stdout).to.match(/ has 1 of 1 packages, .* fetched now\nsha256:[0-9a-f]{64} {2}\S*jq:1.7\n$/);
      digests.push(/sha256:\S+/.exec(stdout)?.[0] ?? '');
    }
    const site = await ServiceProcess.start({
      settings: {
        registry: { gateway: 'oci-layout', ociLayout: { directory: output } },
        credentials: { registries: [{ repo: 'registry.example/deckhouse', default: true }] },
      },
    });
    try {
      const env = { ...process.env, PACKAGES_PROXY_ADDRESSES: `127.0.0.1:${String(site.port)}` };
      for (const [index, digest] of digests.entries()) {
        const file = join(directory, String(index));
        await run(FETCH, [digest, file], { env });
        const expected = digest === image.digest ? image.layer.bytes : layer;
        expect(Buffer.compare(await readFile(file), expected)).to.equal(0);
      }
    } finally {
      await site.close();
    }
    expect(digests[2]).to.equal(image.digest);
  });

  it('copies the packages of a list from an archive, and the chosen platforms of an index', async () => {
    const [amd64, arm64] = [makePackage(1000, 2), makePackage(2000, 3)];
    const entries = Object.entries({ amd64, arm64 });
    const index = makeIndex(
      entries.map(([architecture, one]) => ({ image: one, platform: { os: 'linux', architecture } })),
    );
    await writeFile(archive, layoutArchive(listedImage(image, 'jq:1.7'), listedIndex(index, 'yq:4')));
    const list = join(directory, 'packages.txt');
    await writeFile(list, `${index.digest} registry.example.com/any path\n${makePackage(9, 9).digest}\n`);
    const { code, stdout, stderr } = await mirror('--list', list, '--platform', 'linux/arm64');
    expect({ code, stdout }).to.deep.equal({
      code: 2,
      stdout: `${output} has 1 of 2 packages, 2.0 KiB; 2.0 KiB fetched now\n`,
    });
    expect(stderr).to.include(`${list}:2: ${makePackage(9, 9).digest}: package not found\n`);
    await has(arm64.layer);
    expect(await blobs()).not.to.include(digestHex(amd64.digest));
    expect((await mirror('--platform', 'all')).code).to.equal(0);
    await has(amd64.layer);
    await has(image.layer);
  });

  it('keeps no blob with wrong bytes, and copies only missing blobs in the next run', async () => {
    const [good, forged] = [makePackage(1000, 2), makePackage(2000, 3)];
    const [config = forged.layer] = forged.blobs;
    const wrong = { ...forged, blobs: [config, { ...forged.layer, bytes: bytesOf(2000, 4) }] };
    await writeFile(archive, layoutArchive(listedImage(good), listedImage(wrong, 'bad:1')));
    const { code, stderr } = await mirror();
    expect(code).to.equal(2);
    expect(stderr).to.include(
      `${archive}: bad:1: ${forged.digest}: content does not match its digest: expected ${forged.layer.descriptor.digest}, found ${digestOf(bytesOf(2000, 4))}\n`,
    );
    expect(await blobs()).not.to.include(digestHex(forged.layer.descriptor.digest));
    await writeFile(archive, layoutArchive(listedImage(good), listedImage(forged, 'mended:1')));
    const mended = await mirror('--json');
    expect(JSON.parse(mended.stdout)).to.deep.include({
      mirrored: 2,
      fetched_bytes: 2000,
      images: [
        { digest: good.digest, names: [] },
        { digest: forged.digest, names: ['mended:1'] },
      ],
    });
  });

  it('reports the fault of an archive, and creates no directory', async () => {
    const said = async (what: RegExp): Promise<void> => {
      const { code, stdout, stderr } = await mirror();
      expect([code, stdout]).to.deep.equal([1, '']);
      expect(stderr).to.match(what);
      expect(await readdir(directory)).not.to.include('mirror');
    };
    await said(/images\.tar: ENOENT/);
    await writeFile(archive, layoutArchive(listedImage(image)));
    await truncate(archive, 1_000_000);
    await said(/images\.tar: archive ends in the middle of a file\n$/);
    await writeFile(archive, layoutArchive());
    await said(/images\.tar: archive names no image\n$/);
    await rm(archive);
    await symlink(directory, archive);
    await said(/images\.tar: EFTYPE: not a regular file\n$/);
  });
});
