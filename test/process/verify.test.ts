import { expect } from 'chai';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { digestHex } from '../../src/domain/descriptor.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { bytesOf, encode, makeBlob, makeImage, makeIndex, makePackage, type TestBlob } from '../support/image.ts';
import { OciLayout } from '../support/oci-layout.ts';
import { type Launcher, Program, runProgram } from '../support/program.ts';
import { ServiceProcess } from '../support/service-process.ts';

const MIB = 1024 * 1024;

describe('verify', function () {
  // Each test starts the program, which is slow on a machine under load.
  this.timeout(30_000);
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'verify-'));
  });
  afterEach(() => rm(directory, { recursive: true }));

  describe('of a cache', () => {
    let blobs: string;
    beforeEach(async () => {
      blobs = join(directory, 'v1/blobs/sha256');
      await mkdir(blobs, { recursive: true });
    });

    const path = ({ descriptor }: TestBlob): string => join(blobs, digestHex(descriptor.digest));
    const blob = (length: number, seed: number): TestBlob =>
      makeBlob('application/octet-stream', bytesOf(length, seed));
    const keep = (kept: TestBlob, bytes = kept.bytes): Promise<void> => writeFile(path(kept), bytes);

    it('accepts an undamaged cache and an empty one', async () => {
      expect(await runProgram('verify', directory)).to.deep.include({ code: 0, stdout: '0 blobs, 0 B, all sound\n' });
      await keep(blob(3 * MIB, 1));
      await keep(blob(MIB + 1, 2));
      await keep(blob(0, 3));
      const { code, stdout, stderr } = await runProgram('verify', directory);
      expect({ code, stdout }).to.deep.equal({ code: 0, stdout: '3 blobs, 4.0 MiB, all sound\n' });
      expect(stderr).to.match(/^verify: 4\.0 MiB of 4\.0 MiB, \d+ s(, [\d.]+ [KMG]iB\/s)?\n$/);
    });

    it('finds a flipped bit and missing bytes, prints the digest and size of the file, and changes nothing', async () => {
      const [flipped, cut, sound] = [blob(3 * MIB, 1), blob(2 * MIB, 2), blob(MIB, 3)];
      const other = flipped.bytes.slice();
      other[2 * MIB] = (other[2 * MIB] ?? 0) ^ 1;
      await keep(flipped, other);
      await keep(cut);
      await truncate(path(cut), MIB);
      await keep(sound);
      const { code, stdout } = await runProgram('verify', directory);
      expect(code).to.equal(2);
      expect(stdout.split('\n')).to.have.members([
        `damaged: ${path(flipped)}: holds ${makeBlob('', other).descriptor.digest}`,
        `damaged: ${path(cut)}: holds ${makeBlob('', cut.bytes.subarray(0, MIB)).descriptor.digest}`,
        '3 blobs, 5.0 MiB, 2 damaged',
        '',
      ]);
      expect(await runProgram('verify', directory)).to.include({ code: 2, stdout });
    });

    it('lists foreign files of any name on a line each, and accepts them', async () => {
      await keep(blob(1, 1));
      await writeFile(join(blobs, 'README'), 'who was here?');
      await writeFile(join(blobs, 'two\nlines\x1b[2J'), '');
      await mkdir(join(blobs, 'f'.repeat(64)));
      await symlink('/etc/passwd', join(blobs, 'e'.repeat(64)));
      const { code, stdout } = await runProgram('verify', directory);
      expect(code).to.equal(0);
      expect(stdout.split('\n')).to.deep.equal([
        `stranger: ${join(blobs, 'README')}: its name is not a digest`,
        `stranger: ${join(blobs, 'e'.repeat(64))}: its name is not a digest`,
        `stranger: ${join(blobs, 'f'.repeat(64))}: its name is not a digest`,
        `stranger: ${join(blobs, 'two?lines?[2J')}: its name is not a digest`,
        '1 blob, 1 B, all sound, 4 strangers',
        '',
      ]);
    });

    it('names a file that cannot be read', async function () {
      const closed = blob(MIB, 1);
      await keep(closed);
      await chmod(path(closed), 0);
      const { code, stdout } = await new Program(['verify', directory], asNobodySpecial(this)).end();
      expect({ code, stdout }).to.deep.equal({
        code: 2,
        stdout: `unreadable: ${path(closed)}: EACCES\n1 blob, 1.0 MiB, 1 unreadable\n`,
      });
    });

    it('prints the result as JSON', async () => {
      const cut = blob(2, 1);
      await keep(cut, cut.bytes.subarray(0, 1));
      const { code, stdout } = await runProgram('verify', '--json', directory);
      expect(code).to.equal(2);
      const why = `holds ${makeBlob('', cut.bytes.subarray(0, 1)).descriptor.digest}`;
      expect(JSON.parse(stdout)).to.deep.equal({
        blobs: 1,
        bytes: 1,
        findings: [{ kind: 'damaged', what: path(cut), why }],
      });
    });

    it('ends without delay after a signal', async () => {
      // The first fault is printed first; then a terabyte of zeros is left to read.
      await writeFile(join(blobs, '0'.repeat(64)), 'damaged');
      await writeFile(join(blobs, 'f'.repeat(64)), '');
      await truncate(join(blobs, 'f'.repeat(64)), 2 ** 40);
      for (const signal of ['SIGINT', 'SIGTERM'] as const) {
        const program = new Program(['verify', directory]);
        await program.printed(/^damaged: /);
        program.signal(signal);
        const { code, stdout, stderr } = await program.end();
        expect(code).to.equal(130);
        expect(stdout).to.match(/^damaged: .*\n$/);
        expect(stderr).to.match(/^verify: .* of 1\.0 TiB, /);
      }
    });

    it('shows a bar on a terminal, removes it at the end, and stops at Ctrl-C', async function () {
      await writeFile(join(blobs, '0'.repeat(64)), 'damaged');
      await writeFile(join(blobs, 'f'.repeat(64)), '');
      await truncate(join(blobs, 'f'.repeat(64)), 2 ** 40);
      const program = new Program(['verify', directory], onTerminal(this, 60));
      await program.printed(/\r\x1b\[Kverify \[\.+\] {3}0 % [^\r]*\r\x1b\[Kverify/);
      program.type('\x03');
      const { code, stdout } = await program.end();
      expect(code).to.equal(130);
      expect(stdout).to.match(/\r\x1b\[Kdamaged: .*\r\n/);
      expect(stdout.endsWith('\r\x1b[K'), JSON.stringify(stdout.slice(-200))).to.equal(true);
      const drawn = stdout.split('\r\x1b[K').filter((line) => line.startsWith('verify'));
      for (const line of drawn) expect(line.replace('^C', '')).to.have.length.below(60);
    });

    it('does not affect a running service on the cache', async () => {
      const registry = await FakeRegistry.start();
      const image = makePackage(MIB);
      registry.publish(image);
      const service = await ServiceProcess.start({
        settings: { credentials: { registries: [{ repo: `${registry.host}/a`, default: true, scheme: 'HTTP' }] } },
      });
      const get = () => service.client(`package?digest=${image.digest}`, { responseType: 'buffer' });
      await get();
      const { code, stdout } = await runProgram('verify', service.cacheDirectory);
      expect({ code, stdout }).to.deep.equal({ code: 0, stdout: '2 blobs, 1.0 MiB, all sound\n' });
      expect((await get()).headers['cache-status']).to.equal('registry-packages-proxy; hit');
      await service.close();
      await registry.close();
    });
  });

  describe('of an OCI image layout', () => {
    let layout: OciLayout;
    beforeEach(async () => {
      layout = new OciLayout(directory);
      await layout.create();
    });

    it('follows index.json to every layer', async () => {
      const image = makeImage([bytesOf(2, 1), bytesOf(3, 2)]);
      await layout.add(image);
      expect(await runProgram('verify', directory)).to.include({ code: 0 });
      const [config, lower] = image.blobs;
      if (config === undefined || lower === undefined) throw new Error('no layer');
      for (const blob of [config, lower, image.layer]) await rm(layout.path(blob));
      const { code, stdout } = await runProgram('verify', directory);
      expect(code).to.equal(2);
      expect(stdout).to.match(/^(missing: .*\n){3}1 blob, .*, 3 missing\n$/);
      expect(stdout).to.include(`missing: ${config.descriptor.digest}: config of ${image.digest}\n`);
      for (const { descriptor } of [lower, image.layer]) {
        expect(stdout).to.include(`missing: ${descriptor.digest}: layer of ${image.digest}\n`);
      }
      await rm(layout.path(image.manifest));
      expect((await runProgram('verify', directory)).stdout).to.match(
        new RegExp(`^missing: ${image.digest}: manifest that index.json lists\n0 blobs, `),
      );
    });

    it('finds a manifest with a wrong size of its layer', async () => {
      const { layer } = makePackage(5);
      const descriptor = { ...layer.descriptor, size: 6 };
      const manifest = makeBlob(
        'application/vnd.oci.image.manifest.v1+json',
        encode({ schemaVersion: 2, mediaType: 'application/vnd.oci.image.manifest.v1+json', layers: [descriptor] }),
      );
      for (const blob of [layer, manifest]) await writeFile(layout.path(blob), blob.bytes);
      await writeFile(join(directory, 'index.json'), encode({ manifests: [manifest.descriptor] }));
      const { code, stdout } = await runProgram('verify', directory);
      expect(code).to.equal(2);
      expect(stdout).to.include(
        `damaged: ${layer.descriptor.digest}: layer of ${manifest.descriptor.digest}, which says 6 bytes\n`,
      );
    });

    it('reports the fault of a blob once, for all images that need it', async () => {
      const layer = bytesOf(MIB, 1);
      const image = makeImage([layer]);
      await layout.add(image);
      await layout.add(makeImage([bytesOf(1, 2), layer]));
      await writeFile(layout.path(image.layer), 'else');
      const { code, stdout } = await runProgram('verify', directory);
      expect(code).to.equal(2);
      expect(stdout).to.match(/^damaged: .*\n\d blobs, .*, 1 damaged\n$/);
    });

    it('accepts an index with one of its platforms, and refuses one without any', async () => {
      const platforms = ['amd64', 'arm64'].map((architecture, seed) => ({
        platform: { os: 'linux', architecture },
        image: makeImage([bytesOf(2, seed + 1)]),
      }));
      const [amd64, arm64] = platforms.map(({ image }) => image);
      if (amd64 === undefined || arm64 === undefined) throw new Error('no images');
      const { digest, index } = makeIndex(platforms);
      await layout.add(amd64);
      await writeFile(layout.path(index), index.bytes);
      await writeFile(join(directory, 'index.json'), encode({ schemaVersion: 2, manifests: [index.descriptor] }));
      expect(await runProgram('verify', directory)).to.include({ code: 0 });
      await rm(layout.path(amd64.manifest));
      const { code, stdout } = await runProgram('verify', directory);
      expect(code).to.equal(2);
      expect(stdout).to.include(`missing: ${digest}: none of the 2 manifests of this index is here\n`);
    });

    it('finds an invalid index.json and an invalid manifest', async () => {
      const nonsense = makeBlob('application/vnd.oci.image.manifest.v1+json', encode({ schemaVersion: 2 }));
      await writeFile(layout.path(nonsense), nonsense.bytes);
      await writeFile(join(directory, 'index.json'), encode({ manifests: [nonsense.descriptor] }));
      expect(await runProgram('verify', directory)).to.deep.include({
        code: 2,
        stdout: `damaged: ${nonsense.descriptor.digest}: neither an image manifest nor an index\n1 blob, 19 B, 1 damaged\n`,
      });
      await writeFile(join(directory, 'index.json'), '{');
      const { code, stdout } = await runProgram('verify', directory);
      expect(code).to.equal(2);
      expect(stdout).to.include(`damaged: ${join(directory, 'index.json')}: `);
    });
  });

  it('does not block at a pipe in the directory', async () => {
    const layout = new OciLayout(directory);
    await layout.create();
    const image = makePackage(5);
    await layout.add(image);
    await rm(layout.path(image.layer));
    execFileSync('mkfifo', [layout.path(image.layer)]);
    const blob = await runProgram('verify', directory);
    expect(blob.code).to.equal(2);
    expect(blob.stdout)
      .to.include(`stranger: ${layout.path(image.layer)}: its name is not a digest\n`)
      .and.to.include(`missing: ${image.layer.descriptor.digest}: layer of ${image.digest}\n`);
    await rm(join(directory, 'index.json'));
    execFileSync('mkfifo', [join(directory, 'index.json')]);
    const index = await runProgram('verify', directory);
    expect(index.code).to.equal(2);
    expect(index.stdout).to.include(`damaged: ${join(directory, 'index.json')}: `);
  });

  it('reads directories from a settings file, and verifies all of them', async () => {
    const layout = new OciLayout(join(directory, 'mirror'));
    await layout.create();
    await layout.add(makePackage(5));
    await mkdir(join(directory, 'cache/v1/blobs/sha256'), { recursive: true });
    await writeFile(join(directory, 'cache/v1/blobs/sha256', '0'.repeat(64)), 'damaged');
    const settings = join(directory, 'my.yaml');
    await writeFile(
      settings,
      'store: { directory: cache }\nregistry: { gateway: oci-layout, ociLayout: { directory: mirror } }\n',
    );
    const { code, stdout } = await runProgram('verify', '--config', settings);
    expect(code).to.equal(2);
    expect(stdout).to.match(/^damaged: .*\/cache\/v1\/.*\n4 blobs, .*, 1 damaged\n$/);
  });

  it('reports a directory that it may not read', async function () {
    const closed = join(directory, 'closed');
    await mkdir(join(closed, 'v1/blobs/sha256'), { recursive: true });
    await chmod(closed, 0);
    expect(await new Program(['verify', closed], asNobodySpecial(this)).end()).to.deep.equal({
      code: 1,
      stdout: '',
      stderr: `${join(closed, 'v1/blobs/sha256')}: cannot be read (EACCES)\n`,
    });
    await chmod(closed, 0o700);
  });

  it('refuses paths that it cannot verify', async () => {
    await writeFile(join(directory, 'file'), '');
    await symlink('loop', join(directory, 'loop'));
    const archive = join(directory, 'image.tar');
    execFileSync('tar', ['-cf', archive, '-C', directory, 'file']);
    const [nowhere, file, loop] = [join(directory, 'nowhere'), join(directory, 'file'), join(directory, 'loop')];
    for (const [args, complaint] of [
      [[], 'DIRECTORY or --config is missing\nSee verify --help.\n'],
      [[directory, '--config', file], 'either DIRECTORY or --config\nSee verify --help.\n'],
      [[nowhere], `${nowhere}: no such directory\n`],
      [[directory], `${directory}: neither a cache (no v1/blobs/sha256) nor an OCI image layout (no oci-layout)\n`],
      [[file], `${file}: neither a cache (no v1/blobs/sha256) nor an OCI image layout (no oci-layout)\n`],
      [[archive], `${archive} is an archive: "mirror --from ARCHIVE --output DIRECTORY" makes a directory of it\n`],
      [[join(file, 'below')], `${join(file, 'below')}: no such directory\n`],
      [[loop], `${join(loop, 'v1/blobs/sha256')}: cannot be read (ELOOP)\n`],
      [['--config', nowhere], `${nowhere}: cannot be read (ENOENT)\n`],
    ] as const) {
      expect(await runProgram('verify', ...args)).to.deep.equal({ code: 1, stdout: '', stderr: complaint });
    }
  });
});

/** Starts a process to which file modes apply, also if root runs the tests. */
function asNobodySpecial(test: Mocha.Context): Launcher {
  if (process.getuid?.() !== 0) return (command) => command;
  const capabilities = '-dac_override,-dac_read_search';
  const launch: Launcher = (command) => [
    'setpriv',
    `--inh-caps=${capabilities}`,
    `--bounding-set=${capabilities}`,
    ...command,
  ];
  const [program = '', ...args] = launch(['true']);
  if (spawnSync(program, args).status !== 0) test.skip();
  return launch;
}

/** Starts a process on a new terminal with this number of columns. */
function onTerminal(test: Mocha.Context, columns: number): Launcher {
  if (spawnSync('script', ['--version']).status !== 0) test.skip();
  return (command) => {
    const quoted = command.map((part) => `'${part}'`).join(' ');
    return [
      'env',
      'TERM=xterm',
      'SHELL=/bin/sh',
      'script',
      '-qefc',
      `stty cols ${String(columns)}; exec ${quoted}`,
      '/dev/null',
    ];
  };
}
