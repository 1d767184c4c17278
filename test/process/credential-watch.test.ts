import { expect } from 'chai';
import { FakeProxy } from '../support/fake-proxy.ts';
import { FakeRegistry, type FakeRegistryOptions, PASSWORD, USERNAME } from '../support/fake-registry.ts';
import { makePackage, type TestImage } from '../support/image.ts';
import { findCanary, ServiceProcess } from '../support/service-process.ts';
import { CA } from '../support/tls/certificates.ts';

/** The secrets of all hosts differ, so a secret in a request identifies its owner. */
const SECRETS: Readonly<Record<string, string>> = {
  password: PASSWORD,
  'identity token': 'canary-refresh',
  'token of the registry': 'canary-home-token-',
  'token of the storage': 'canary-storage-token-',
  'password of the proxy': 'canary-proxy-password',
  cookie: 'canary-cookie',
};
const PROXY_LOGIN = `${USERNAME}:${SECRETS['password of the proxy'] ?? ''}`;
/** The name in the certificate of the tests; only proxies know its address. */
const NAME = 'registry.test';

let nextSeed = 70_000;

/** Names of the secrets that a host has seen in headers, URLs and bodies, in the clear or in a Basic header. */
function seenBy({ log }: FakeRegistry): string[] {
  const texts = log.flatMap(({ url, body, headers }) => {
    const logins = [headers.authorization, headers['proxy-authorization']].map((header = '') =>
      Buffer.from(header.replace(/^Basic /, ''), 'base64').toString(),
    );
    return [url, body, JSON.stringify(headers), ...logins];
  });
  return Object.keys(SECRETS).filter((name) => texts.some((text) => text.includes(SECRETS[name] ?? '')));
}

describe('the service sends each host on the way to a package only the secrets of that host,', function () {
  // Each starts a service.
  this.timeout(30_000);
  const closing: (() => Promise<unknown>)[] = [];
  afterEach(async () => {
    for (const close of closing.splice(0).toReversed()) await close();
  });

  async function start(options: FakeRegistryOptions = {}): Promise<FakeRegistry> {
    const registry = await FakeRegistry.start(options);
    closing.push(() => registry.close());
    registry.tokenPrefix = SECRETS['token of the registry'] ?? '';
    // A client with a cookie jar would send the cookie to the next host.
    registry.script((_request, response) => {
      response.setHeader('set-cookie', `${SECRETS['cookie'] ?? ''}=1; Path=/`);
      return false;
    });
    return registry;
  }

  async function startStorage(options: FakeRegistryOptions = {}): Promise<FakeRegistry> {
    const storage = await start(options);
    storage.tokenPrefix = SECRETS['token of the storage'] ?? '';
    return storage;
  }

  function publish(...registries: FakeRegistry[]): TestImage {
    const image = makePackage(300_000, nextSeed++);
    for (const registry of registries) registry.publish(image);
    return image;
  }

  /** Redirects each layer from `from` to the same path at `to`. */
  function redirect(from: FakeRegistry, to: FakeRegistry): void {
    from.script(({ url, headers }, response) => {
      if (!url.includes('/blobs/') || (from.wantsAuthorization && headers.authorization === undefined)) return false;
      response.writeHead(307, { location: `${to.origin}${url}` }).end();
      return true;
    });
  }

  interface RegistryAuth {
    readonly repo?: string;
    readonly login?: object;
    readonly trustedRealms?: readonly string[];
    readonly environment?: Record<string, string>;
  }

  /** Fetches a package of `home`, and searches for secrets in the output of the service. */
  async function fetch(home: FakeRegistry, image: TestImage, entrance: RegistryAuth = {}): Promise<number> {
    const { login = { username: USERNAME, password: PASSWORD }, trustedRealms = [], environment = {} } = entrance;
    const isSecure = home.origin.startsWith('https:');
    const registry = {
      repo: `${entrance.repo ?? home.host}/deckhouse/ee`,
      default: true,
      scheme: isSecure ? 'HTTPS' : 'HTTP',
      ...(isSecure && { ca: CA }),
      ...login,
    };
    const settings = {
      registry: { trustedRealms, timeouts: { retrySeconds: 1 } },
      credentials: { registries: [registry] },
    };
    const service = await ServiceProcess.start({ settings, environment });
    closing.push(() => service.close());
    const query = `package?digest=${image.digest}`;
    const { statusCode, body } = await service.client(query, { responseType: 'buffer' });
    if (statusCode === 200) expect(Buffer.compare(body, image.layer.bytes)).to.equal(0);
    const { body: metrics } = await service.client('metrics', { responseType: 'text' });
    const { body: status } = await service.client('status', { responseType: 'text' });
    expect(findCanary(`${service.output}${metrics}${status}`)).to.equal(undefined);
    return statusCode;
  }

  for (const auth of ['basic', 'bearer'] as const) {
    it(`where the registry redirects through a gateway to a storage with its own tokens (${auth})`, async () => {
      const [home, gateway, storage] = [await start({ auth }), await start(), await startStorage({ auth: 'bearer' })];
      redirect(home, gateway);
      redirect(gateway, storage);
      expect(await fetch(home, publish(home, storage))).to.equal(200);
      expect(seenBy(home)).to.deep.equal(auth === 'basic' ? ['password'] : ['password', 'token of the registry']);
      expect(seenBy(gateway)).to.deep.equal([]);
      expect(seenBy(storage)).to.deep.equal(['token of the storage']);
    });
  }

  for (const status of [404, 403, 400]) {
    it(`where the registry hides content with ${String(status)}, and a token server in the settings gives access`, async () => {
      const [home, tokens, storage] = [await start({ auth: 'bearer' }), await start({ auth: 'bearer' }), await start()];
      home.script(({ url, headers: { authorization = '' } }, response) => {
        const isChallenged = url === '/v2/' || authorization.startsWith('Bearer ');
        if (isChallenged && authorization === '') {
          response.writeHead(401, { 'www-authenticate': `Bearer realm="${tokens.origin}/token",service="s"` }).end();
        } else if (!isChallenged) response.writeHead(status).end();
        else if (url.includes('/blobs/')) response.writeHead(307, { location: `${storage.origin}${url}` }).end();
        else response.end(image.manifest.bytes);
        return true;
      });
      const image = publish(storage);
      expect(await fetch(home, image, { trustedRealms: [tokens.host] })).to.equal(200);
      expect(seenBy(tokens)).to.deep.equal(['password']);
      expect(seenBy(home)).to.deep.equal(['token of the registry']);
      expect(seenBy(storage)).to.deep.equal([]);
    });
  }

  it('where the registry hides content, and names a foreign token server', async () => {
    const [home, stranger] = [await start({ auth: 'bearer' }), await start({ auth: 'bearer' })];
    home.script(({ url }, response) => {
      const challenge = { 'www-authenticate': `Bearer realm="${stranger.origin}/token",service="s"` };
      response.writeHead(url === '/v2/' ? 401 : 404, url === '/v2/' ? challenge : {}).end();
      return true;
    });
    expect(await fetch(home, publish())).to.equal(502);
    expect([seenBy(home), seenBy(stranger)]).to.deep.equal([[], []]);
  });

  for (const [what, challenge] of [
    ['a password', () => 'Basic realm="storage"'],
    ["a token of the registry's own server", (home: FakeRegistry) => `Bearer realm="${home.origin}/token",service="s"`],
    ['a token of another server', (_: FakeRegistry, other: FakeRegistry) => `Bearer realm="${other.origin}/token"`],
    ['nothing that it names', () => undefined],
  ] as const) {
    it(`where a storage answers 401 and requires ${what}`, async () => {
      const [home, storage, other] = [await start({ auth: 'basic' }), await startStorage(), await startStorage()];
      redirect(home, storage);
      home.script(({ url, headers: { authorization } }, response) => {
        if (!url.startsWith('/token') || authorization !== undefined) return false;
        response.end('{"token":"for-anyone"}');
        return true;
      });
      storage.script((_request, response) => {
        const header = challenge(home, other);
        response.writeHead(401, header === undefined ? {} : { 'www-authenticate': header }).end();
        return true;
      });
      expect(await fetch(home, publish(home))).to.equal(502);
      expect(seenBy(home)).to.deep.equal(['password']);
      // A token that requires no password is not a secret of the registry.
      for (const host of [storage, other]) {
        expect(seenBy(host).filter((name) => name !== 'token of the storage')).to.deep.equal([]);
      }
    });
  }

  for (const [what, login, own] of [
    ['a password', { username: USERNAME, password: PASSWORD }, 'password'],
    ['an identity token', { username: '<token>', password: 'canary-refresh' }, 'identity token'],
  ] as const) {
    for (const status of [302, 308]) {
      it(`where a token server that gets ${what} redirects with ${String(status)}`, async () => {
        const [home, other] = [await start({ auth: 'bearer' }), await start()];
        home.script(({ url }, response) => {
          if (!url.startsWith('/token')) return false;
          response.writeHead(status, { location: `${other.origin}${url}` }).end();
          return true;
        });
        await fetch(home, publish(home), { login });
        expect(seenBy(home)).to.include(own);
        expect(seenBy(other)).to.deep.equal([]);
      });
    }
  }

  it('where the registry is behind an HTTP proxy with a password', async () => {
    const home = await start({ tls: 'localhost', auth: 'bearer' });
    const port = Number(home.host.split(':')[1]);
    const proxy = await FakeProxy.http(port);
    closing.push(() => proxy.close());
    const url = `http://${PROXY_LOGIN}@${proxy.host}`;
    home.realm = `https://${NAME}:${String(port)}/token`;
    const status = await fetch(home, publish(home), {
      repo: `${NAME}:${String(port)}`,
      environment: { HTTPS_PROXY: url },
    });
    expect(status).to.equal(200);
    expect(seenBy(home)).to.deep.equal(['password', 'token of the registry']);
    expect(new Set(proxy.authorizations)).to.deep.equal(
      new Set([`Basic ${Buffer.from(PROXY_LOGIN).toString('base64')}`]),
    );
  });

  it('where the registry is behind a SOCKS proxy with a password', async () => {
    const home = await start({ tls: 'localhost', auth: 'bearer' });
    const port = Number(home.host.split(':')[1]);
    const [username = '', password = ''] = PROXY_LOGIN.split(':');
    const proxy = await FakeProxy.socks(port, { username, password });
    closing.push(() => proxy.close());
    const url = `socks5h://${PROXY_LOGIN}@${proxy.host}`;
    home.realm = `https://${NAME}:${String(port)}/token`;
    const status = await fetch(home, publish(home), {
      repo: `${NAME}:${String(port)}`,
      environment: { HTTPS_PROXY: url },
    });
    expect(status).to.equal(200);
    expect(seenBy(home)).to.deep.equal(['password', 'token of the registry']);
  });

  it('where a redirect leads to a host that is reached without the proxy', async () => {
    // As a proxy it answers for every host in a whole URL.
    const [proxy, storage] = [await start({ auth: 'basic' }), await start()];
    redirect(proxy, storage);
    const image = publish(proxy, storage);
    const environment = { HTTP_PROXY: `http://${PROXY_LOGIN}@${proxy.host}` };
    // No setting names this private address, so the service neither connects to it nor sends it a secret.
    expect(await fetch(proxy, image, { repo: NAME, environment })).to.equal(502);
    expect(seenBy(proxy)).to.deep.equal(['password', 'password of the proxy']);
    expect(storage.log).to.deep.equal([]);
  });
});
