import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { CommandLineClient, CommandLineError } from '../support/command-line-client.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { bytesOf, encode, makeBlob, makeImage, makeIndex, type TestImage } from '../support/image.ts';
import { rejection } from '../support/rejection.ts';
import { ServiceProcess } from '../support/service-process.ts';

const run = promisify(execFile);
const CLI = 'deckhouse-cli';
const PLUGIN = `${CLI}/plugins/stronghold`;
const PROGRAMS = { amd64: Buffer.from(bytesOf(3_000_000, 1)), arm64: Buffer.from(bytesOf(3_000_000, 2)) };

describe('the command line and a running service', () => {
  let directory: string;
  let registry: FakeRegistry;
  let service: ServiceProcess;
  let client: CommandLineClient;
  /** Manifests by repository and tag. */
  let tagged: Map<string, Uint8Array>;

  async function imageOf(name: string, program: Buffer): Promise<TestImage> {
    const root = await mkdtemp(join(directory, 'root-'));
    await writeFile(join(root, name), program, { mode: 0o755 });
    // Behind the file there is more, which no client reads.
    await writeFile(join(root, 'zz'), bytesOf(2_000_000, 9));
    const { stdout } = await run('tar', ['-C', root, '-czf', '-', name, 'zz'], {
      encoding: 'buffer',
      maxBuffer: 1 << 28,
    });
    return makeImage([stdout]);
  }

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'images-'));
    registry = await FakeRegistry.start({ auth: 'bearer' });
    const [amd64, arm64] = [await imageOf('d8', PROGRAMS.amd64), await imageOf('d8', PROGRAMS.arm64)];
    const index = makeIndex([
      { image: amd64, platform: { os: 'linux', architecture: 'amd64' } },
      { image: arm64, platform: { os: 'darwin', architecture: 'arm64' } },
    ]);
    const plugin = await imageOf('plugin', PROGRAMS.amd64);
    const { bytes } = plugin.manifest;
    const contract = Buffer.from('{"name":"stronghold"}').toString('base64');
    const annotated = makeBlob(
      plugin.manifest.descriptor.mediaType,
      encode({
        ...(JSON.parse(Buffer.from(bytes).toString()) as object),
        annotations: { contract },
      }),
    );
    const published = { ...plugin, digest: annotated.descriptor.digest, manifest: annotated };
    registry.publish(index, published);
    const plugins = makeIndex([{ image: published, platform: { os: 'linux', architecture: 'amd64' } }]);
    registry.publish(plugins);
    // The edition holds packages; the command line is beside it.
    tagged = new Map([
      [`deckhouse/${CLI}/v1.0.0`, index.index.bytes],
      [`deckhouse/${CLI}/v1.1.0`, index.index.bytes],
      [`deckhouse/${PLUGIN}/v0.1.0`, plugins.index.bytes],
    ]);
    registry.script(({ url, headers }, response) => {
      if (headers.authorization === undefined) return false;
      const [, repository = '', list, tag = ''] = /^\/v2\/(.+)\/(?:(tags\/list)|manifests\/(v[^/]+))$/.exec(url) ?? [];
      if (repository === '') return false;
      const tags = [...tagged.keys()]
        .filter((key) => key.startsWith(`${repository}/v`))
        .map((key) => key.split('/').at(-1));
      const manifest = tagged.get(`${repository}/${tag}`);
      if (list !== undefined && tags.length > 0) response.end(JSON.stringify({ name: repository, tags }));
      else if (manifest !== undefined) response.end(manifest);
      else response.writeHead(404).end();
      return true;
    });
    const dockerCfg = Buffer.from(
      JSON.stringify({ auths: { [registry.host]: { username: 'robot', password: 'canary-pass:word' } } }),
    ).toString('base64');
    const registries = [{ repo: `${registry.host}/deckhouse/ee`, default: true, scheme: 'HTTP', dockerCfg }];
    service = await ServiceProcess.start({ settings: { credentials: { registries } } });
    client = new CommandLineClient(`http://127.0.0.1:${String(service.port)}`);
  });

  after(async () => {
    await service.close();
    await registry.close();
    await rm(directory, { recursive: true });
  });

  it('lists the versions, from beside the edition', async () => {
    expect(await client.tags(CLI)).to.deep.equal(['v1.0.0', 'v1.1.0']);
    expect(await client.tags(PLUGIN)).to.deep.equal(['v0.1.0']);
  });

  it('fetches the program of each platform, and leaves before the end of the answer', async () => {
    for (const [platform, program] of [
      ['linux-amd64', PROGRAMS.amd64],
      ['darwin-arm64', PROGRAMS.arm64],
    ] as const) {
      for (let time = 0; time < 2; time++) {
        expect((await client.pull(CLI, 'v1.1.0', platform, 'd8')).equals(program), platform).to.equal(true);
      }
    }
    // Each package was downloaded once, although its client left.
    const blobs = registry.requests('/blobs/').filter(({ headers }) => headers.authorization !== undefined);
    expect(blobs).to.have.lengthOf(2);
    expect(service.lines.filter(({ level, route }) => level !== 'info' && route === '/v1/images/images')).to.deep.equal(
      [],
    );
  });

  it('reads the contract of a plugin through its index, and installs it', async () => {
    expect(await client.contract(PLUGIN, 'v0.1.0')).to.deep.equal({ name: 'stronghold' });
    expect((await client.pull(PLUGIN, 'v0.1.0', 'linux-amd64', 'plugin')).equals(PROGRAMS.amd64)).to.equal(true);
  });

  it('says what is not there', async () => {
    for (const [work, text] of [
      [client.pull(CLI, 'v9', 'linux-amd64', 'd8'), 'status 404: version not found'],
      [client.pull(CLI, 'v1.0.0', 'windows-amd64', 'd8'), 'status 404: version not found'],
    ] as const) {
      const error = await rejection(work);
      expect(error).to.be.instanceOf(CommandLineError);
      expect(error.message).to.equal(text);
    }
    // A client that asks for JSON is told in JSON.
    const unknown = await rejection(client.tags(`${CLI}/plugins/none`));
    expect(unknown.message).to.match(/^status 404: \{.*"detail":"image not found"/);
  });

  it('counts by route, without names and tags', async () => {
    const metrics = await service.client('metrics').text();
    for (const action of ['tags', 'images', 'manifests']) expect(metrics).to.include(`route="/v1/images/${action}"`);
    expect(metrics).not.to.include('stronghold').and.not.to.include('v1.1.0');
  });
});
