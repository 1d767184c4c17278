import { expect } from 'chai';
import { FakeRegistry, PASSWORD, USERNAME } from '../support/fake-registry.ts';
import { makePackage } from '../support/image.ts';
import { ServiceProcess } from '../support/service-process.ts';

/** A service whose default registry is at `host`. */
function tier(host: string, account: object = {}): Promise<ServiceProcess> {
  const registries = [{ repo: `${host}/deckhouse/ee`, default: true, scheme: 'HTTP', ...account }];
  return ServiceProcess.start({
    settings: {
      credentials: { registries },
      server: { distribution: { enabled: true } },
      registry: { timeouts: { retrySeconds: 0 } },
    },
  });
}

describe('tiers of services', function () {
  this.timeout(60_000);
  const image = makePackage(3_000_000);
  let registry: FakeRegistry;
  let region: ServiceProcess;
  let clusters: ServiceProcess[];
  beforeEach(async () => {
    registry = await FakeRegistry.start({ auth: 'bearer' });
    registry.publish(image);
    region = await tier(registry.host, { username: USERNAME, password: PASSWORD });
    clusters = await Promise.all([1, 2].map(() => tier(`127.0.0.1:${String(region.port)}`)));
  });
  afterEach(async () => {
    for (const service of [...clusters, region]) await service.close();
    await registry.close();
  });

  const query = `package?digest=${image.digest}`;
  const fetchFrom = async (service: ServiceProcess): Promise<Uint8Array> => service.client(query).buffer();
  const blobs = (): number =>
    registry
      .requests('/blobs/')
      .filter(({ headers, method }) => method === 'GET' && headers.authorization !== undefined).length;

  it('fetch a package once from the registry, only with the account of the first tier', async () => {
    const bodies = await Promise.all([...clusters, ...clusters].map(fetchFrom));
    for (const body of bodies) expect(Buffer.compare(body, image.layer.bytes)).to.equal(0);
    expect(blobs()).to.equal(1);
    const asked = region.lines.filter(({ route }) => String(route).startsWith('/v2/'));
    expect(new Set(asked.map(({ route }) => route))).to.deep.equal(new Set(['/v2/manifests', '/v2/blobs']));
  });

  it('serve the packages of the first tier while the registry is away', async () => {
    const [first, second] = clusters;
    if (first === undefined || second === undefined) throw new Error('two clusters');
    await fetchFrom(first);
    registry.script((_request, response) => {
      response.socket?.resetAndDestroy();
      return true;
    });
    expect(Buffer.compare(await fetchFrom(second), image.layer.bytes)).to.equal(0);
    const absent = await second.client(`package?digest=${makePackage(10, 7).digest}`);
    expect(absent.statusCode).to.equal(502);
  });

  it('deliver whole packages to clients when the first tier breaks off', async () => {
    const [first] = clusters;
    if (first === undefined) throw new Error('a cluster');
    let left = 1;
    registry.script(({ url, method }, response) => {
      if (method !== 'GET' || !url.includes('/blobs/') || left-- <= 0) return false;
      response.writeHead(200, { 'content-length': 3_000_000 });
      response.write(image.layer.bytes.subarray(0, 1_000_000), () => response.socket?.resetAndDestroy());
      return true;
    });
    expect(Buffer.compare(await fetchFrom(first), image.layer.bytes)).to.equal(0);
  });

  it('can use an instance as the mirror of a registry and keep the name and account of that registry', async () => {
    const endpoint = `http://127.0.0.1:${String(region.port)}`;
    const registries = [{ repo: `${registry.host}/deckhouse/ee`, default: true, scheme: 'HTTP' }];
    const node = await ServiceProcess.start({
      settings: {
        credentials: { registries },
        registry: { mirrors: [{ of: registry.host, endpoint, fallback: false }] },
      },
    });
    try {
      expect(Buffer.compare(await fetchFrom(node), image.layer.bytes)).to.equal(0);
      expect(blobs()).to.equal(1);
      // The node has no account, so the registry would refuse its requests.
      const unauthorized = registry.requests('/v2/').filter(({ headers }) => headers.authorization === undefined);
      expect(unauthorized.length).to.be.at.most(1);
    } finally {
      await node.close();
    }
  });

  it('do not serve /v2/ by default, and log the name of the setting', async () => {
    const plain = await ServiceProcess.start({});
    const { statusCode } = await plain.client('v2/');
    const { err } = await plain.logged('request', { route: 'other' });
    await plain.close();
    expect(statusCode).to.equal(404);
    expect(err).to.have.property('message', 'page not found: /v2/ is not served (server.distribution.enabled)');
  });
});
