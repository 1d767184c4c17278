import { expect } from 'chai';
import { CommandLineClient, CommandLineError } from '../support/command-line-client.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { CLI, PLUGIN, PROGRAMS, publishCommandLine } from '../support/published-command-line.ts';
import { rejection } from '../support/rejection.ts';
import { ServiceProcess } from '../support/service-process.ts';

interface Explained {
  readonly configuration: {
    readonly image_roots: readonly { readonly host: string; readonly repository: string; readonly answer: object }[];
  };
}

describe('the command line and a running service', () => {
  let registry: FakeRegistry;
  let service: ServiceProcess;
  let client: CommandLineClient;

  before(async () => {
    registry = await FakeRegistry.start({ auth: 'bearer' });
    publishCommandLine(registry, ({ headers }) => headers.authorization !== undefined);
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
  });

  it('lists the versions from the repository next to the edition', async () => {
    expect(await client.tags(CLI)).to.deep.equal(['v1.0.0', 'v1.1.0']);
    expect(await client.tags(PLUGIN)).to.deep.equal(['v0.1.0']);
  });

  it('fetches the program of each platform, and closes the connection before the end of the answer', async () => {
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

  it('reports missing images and versions', async () => {
    for (const [work, text] of [
      [client.pull(CLI, 'v9', 'linux-amd64', 'd8'), 'status 404: version not found'],
      [client.pull(CLI, 'v1.0.0', 'windows-amd64', 'd8'), 'status 404: version not found'],
    ] as const) {
      const error = await rejection(work);
      expect(error).to.be.instanceOf(CommandLineError);
      expect(error.message).to.equal(text);
    }
    // A client that accepts JSON gets the error as JSON.
    const unknown = await rejection(client.tags(`${CLI}/plugins/none`));
    expect(unknown.message).to.match(/^status 404: \{.*"detail":"image not found"/);
  });

  it('logs each repository that was searched, and its answer', async () => {
    const places = [`${registry.host}/deckhouse/ee`, `${registry.host}/deckhouse`];
    await rejection(client.tags(`${CLI}/plugins/nowhere`));
    const { err } = await service.logged('request', { route: '/v1/images/tags', status: 404 });
    const { code, causes, stack } = err as Record<string, unknown>;
    expect([code, stack]).to.deep.equal(['MANIFEST_UNKNOWN', undefined]);
    for (const place of places)
      expect((causes as string[])[0]).to.match(
        new RegExp(`${place}/${CLI}/plugins/\\w+: PackageUnknownError: package not found`),
      );
    const explained = await service.client(`explain?digest=sha256:${'0'.repeat(64)}`).json<Explained>();
    expect(explained.configuration.image_roots.map(({ host, repository }) => `${host}/${repository}`)).to.deep.equal(
      places.toReversed(),
    );
    for (const { answer } of explained.configuration.image_roots) {
      expect(answer).to.include({ image: `${CLI}/plugins/nowhere`, code: 'MANIFEST_UNKNOWN' });
    }
    await client.pull(CLI, 'v1.1.0', 'linux-amd64', 'd8');
    const found = await service.logged('request', { route: '/v1/images/images', method: 'GET' });
    expect(found).to.include({ repository: '', path: CLI, beside: true });
  });

  it('sends the token of a client to no registry, and does not log it', async () => {
    const asked = registry.log.length;
    const headers = { authorization: 'Bearer canary-of-the-user', cookie: 'canary-cookie' };
    for (const path of ['tags', 'images/v1.1.0', 'manifests/v1.1.0']) {
      expect((await service.client(`v1/images/${CLI}/${path}`, { headers })).statusCode).to.equal(200);
    }
    const seen = JSON.stringify(registry.log.slice(asked).map((request) => request.headers));
    expect(seen)
      .to.include('canary-token')
      .and.not.to.match(/canary-of-the-user|canary-cookie/);
    expect(service.output).not.to.include('canary');
  });

  it('counts requests by route, without names and tags', async () => {
    const metrics = await service.client('metrics').text();
    for (const action of ['tags', 'images', 'manifests']) expect(metrics).to.include(`route="/v1/images/${action}"`);
    expect(metrics).not.to.include('stronghold').and.not.to.include('v1.1.0');
  });
});
