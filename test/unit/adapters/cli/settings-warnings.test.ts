import { expect } from 'chai';
import { X509Certificate } from 'node:crypto';
import { mkdir, mkdtemp, rm, statfs, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { warningsOf } from '../../../../src/adapters/cli/settings-warnings.ts';
import { Layout } from '../../../../src/adapters/filesystem/layout.ts';
import { isLoopback } from '../../../../src/adapters/http/server/listen-address.ts';
import { layOver, mergeSettings, readLayers } from '../../../../src/infrastructure/load-settings.ts';
import { FakeTerminal } from '../../../support/fake-terminal.ts';
import { CA, ISSUING_CA } from '../../../support/tls/certificates.ts';

describe('warningsOf', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'suspicions-'));
  });
  afterEach(() => rm(directory, { recursive: true }));

  const REGISTRY = { repo: 'registry.example.com/a', default: true };
  const PASSWORD = { username: 'robot', password: 'canary' };

  /** Warnings of a file; `retype` changes its text as an editor would. */
  async function suspicions(settings: object, mode = 0o600, retype = (yaml: string) => yaml): Promise<string[]> {
    const config = join(directory, 'my.yaml');
    const complete = {
      store: { directory: 'cache', maxSize: '1Mi' },
      credentials: { registries: [REGISTRY] },
      ...settings,
    };
    await rm(config, { force: true });
    await writeFile(config, retype(stringify(complete)), { mode });
    const layers = readLayers({ config }, new FakeTerminal());
    const merged = mergeSettings(layers);
    const found = await warningsOf(merged, {
      file: config,
      written: layOver(layers),
      isLoopback: isLoopback(merged.server.listenAddress),
      cache: new Layout(merged.store.directory).blobs,
    });
    return found.map((text) => text.replace(directory, '.'));
  }

  it('does not warn of usual settings', async () => {
    expect(await suspicions({})).to.deep.equal([]);
    expect(await suspicions({ server: { listenAddress: '[::1]:5080' }, store: { enabled: false } })).to.deep.equal([]);
    expect(await suspicions({ credentials: { registries: [{ ...REGISTRY, ...PASSWORD }] } })).to.deep.equal([]);
    expect(await suspicions({ credentials: { registries: [{ ...REGISTRY, scheme: 'HTTP' }] } }, 0o644)).to.deep.equal(
      [],
    );
    expect(await suspicions({ credentials: { source: 'kubernetes' } })).to.deep.equal([]);
  });

  for (const listenAddress of [':5080', '0.0.0.0:5080', '[::]:5080', 'master-0:5080', '10.0.0.1:5080']) {
    it(`warns of an open door at ${listenAddress}, unless clients need a certificate`, async () => {
      const server = { listenAddress };
      expect(await suspicions({ server })).to.deep.equal([
        'server.listenAddress: other machines may reach it without authentication',
      ]);
      const tls = { certificate: 'a.pem', key: 'b.pem', clientCA: 'c.pem' };
      expect(await suspicions({ server: { ...server, tls } })).to.deep.equal([]);
    });
  }

  it('warns of keys that verify nothing', async () => {
    const warned = (signature: object, gateway = 'oci'): Promise<string[]> =>
      suspicions({ registry: { signature, gateway } });
    for (const unused of [{ keys: 'a.pem' }, { roots: 'a.pem' }]) {
      expect(await warned(unused)).to.deep.equal(['registry.signature.mode: is off, so no signature is verified']);
    }
    expect(await warned({ mode: 'report', keys: 'a.pem' })).to.deep.equal([]);
    expect(await warned({ mode: 'report', roots: 'a.pem' }, 'oci-layout')).to.deep.equal([]);
    expect(await warned({ mode: 'enforce', keys: 'a.pem', roots: 'b.pem' }, 'oci-layout')).to.deep.equal([
      'registry.signature.keys: an OCI image layout holds no signature of cosign',
    ]);
  });

  it('warns of a cache that is larger than the free space of its volume', async () => {
    const { bsize, blocks } = await statfs(directory);
    const [suspicion, ...others] = await suspicions({ store: { directory: 'cache', maxSize: bsize * blocks + 1 } });
    expect(others).to.deep.equal([]);
    expect(suspicion).to.match(/^store\.maxSize: \S+ [KMGT]iB is more than the volume has for it, which is /);
  });

  it('warns of a cache whose size lacks its unit', async () => {
    expect(await suspicions({ store: { directory: 'cache', maxSize: 10 } })).to.deep.equal([
      'store.maxSize: 10 B is smaller than most packages; a unit such as Mi or Gi may be missing',
    ]);
  });

  it('counts the cached blobs as free space', async () => {
    const { bsize, bavail } = await statfs(directory);
    const blobs = join(directory, 'cache/v1/blobs/sha256');
    await mkdir(blobs, { recursive: true });
    // A file of a terabyte that takes no room.
    await writeFile(join(blobs, '0'.repeat(64)), '');
    await truncate(join(blobs, '0'.repeat(64)), 2 ** 40);
    const maxSize = Math.floor(bsize * bavail + 2 ** 39);
    expect(await suspicions({ store: { directory: 'cache', maxSize } })).to.deep.equal([]);
  });

  it('warns of a password that goes over the network unencrypted', async () => {
    const registries = [REGISTRY, { repo: 'registry.example.com/b', scheme: 'HTTP', ...PASSWORD }];
    expect(await suspicions({ credentials: { registries } })).to.deep.equal([
      'credentials.registries.1.scheme: the password goes to registry.example.com unencrypted',
    ]);
  });

  for (const [what, auths, warned] of [
    ['no entry for its registry', { 'registry.example': {}, 'evil-registry.example.com': {} }, true],
    ['an entry for another path of it', { 'registry.example.com/b': {} }, true],
    ['an entry that is empty', { 'registry.example.com': {} }, false],
    ['an entry in another spelling', { 'https://Registry.Example.com:443/v2/': {} }, false],
    ['no entries at all', {}, false],
  ] as const) {
    it(`${warned ? 'warns' : 'does not warn'} of a docker config with ${what}`, async () => {
      const dockerCfg = Buffer.from(JSON.stringify({ auths })).toString('base64');
      const text =
        'credentials.registries.0.dockerCfg: has no entry for registry.example.com, so access to it is anonymous';
      expect(await suspicions({ credentials: { registries: [{ ...REGISTRY, dockerCfg }] } })).to.deep.equal(
        warned ? [text] : [],
      );
    });
  }

  it('warns of a docker config that leaves the password to a program', async () => {
    const dockerCfg = Buffer.from('{"auths":{"registry.example.com":{}},"credsStore":"desktop"}').toString('base64');
    expect(await suspicions({ credentials: { registries: [{ ...REGISTRY, dockerCfg }] } })).to.deep.equal([
      'credentials.registries.0: the docker config leaves the password to a program ("credsStore" or "credHelpers"), and this service runs none: write the account into "auths"',
    ]);
  });

  it('warns of a CA that has expired', async () => {
    const der = new X509Certificate(CA).raw.toString('latin1').replace(/21261031\d{6}Z/, '20210102030405Z');
    const body = Buffer.from(der, 'latin1').toString('base64');
    const expired = `-----BEGIN CERTIFICATE-----\n${body}\n-----END CERTIFICATE-----\n`;
    const warned = (ca: string) => suspicions({ credentials: { registries: [{ ...REGISTRY, ca }] } });
    expect(await warned(CA + ISSUING_CA)).to.deep.equal([]);
    expect(await warned(CA + expired)).to.deep.equal([
      'credentials.registries.0.ca: 1 of 2 certificates have expired, the first on 2021-01-02',
    ]);
  });

  it('warns of a mirror of a registry that is not in the settings', async () => {
    const mirror = { endpoint: 'https://mirror.example' };
    const of = (...hosts: string[]) =>
      suspicions({ registry: { mirrors: hosts.map((host) => ({ ...mirror, of: host })) } });
    expect(await of('*', 'registry.example.com', 'Registry.Example.com:443')).to.deep.equal([]);
    expect(await of('registry.exmaple.com')).to.deep.equal([
      'registry.mirrors.0.of: no registry of credentials.registries is at registry.exmaple.com, so this mirror is never asked',
    ]);
  });

  it('warns of a password that looks like a mistake', async () => {
    const auth = Buffer.from('robot:canary\n').toString('base64');
    const dockerCfg = Buffer.from(JSON.stringify({ auths: { 'registry.example.com': { auth } } })).toString('base64');
    expect(await suspicions({ credentials: { registries: [{ ...REGISTRY, dockerCfg }] } })).to.deep.equal([
      'credentials.registries.0: the password ends with a line feed',
    ]);
  });

  it('warns if no repository, or no default repository, is configured', async () => {
    expect(await suspicions({ credentials: {} })).to.deep.equal([
      'credentials.registries: without any, every request is for an unknown repository',
    ]);
    expect(await suspicions({ credentials: { registries: [{ repo: REGISTRY.repo }] } })).to.deep.equal([
      'credentials.registries: none is the default, so every request must name its repository',
    ]);
  });

  it('warns of a variable in a value, which is not replaced, without printing a text that may be a password', async () => {
    const registries = [{ ...REGISTRY, username: 'robot', password: 'canary-${SECRET}' }];
    expect(
      await suspicions({ store: { directory: '${HOME}/cache', maxSize: '1Mi' }, credentials: { registries } }),
    ).to.have.members(
      ['store.directory', 'credentials.registries.0.password'].map(
        (setting) => `${setting}: holds "\${…}", which stays as it is: no variable is replaced in settings`,
      ),
    );
  });

  for (const [username, password, warned] of [
    ['robot', 'canary #def', ['password']],
    ['robot', 'canary\t##', ['password']],
    ['robot #a', 'canary', ['username']],
    ['robot #a', 'canary #def', ['username', 'password']],
    ['robot # of the nodes', 'canary #', []],
    ['robot', 'canary\n      #def', []],
    ['robot', '"canary" #def', []],
    ['robot', '"canary #def"', []],
    ['robot', 'canary#def', []],
    ['robot', '|-\n        canary #def', []],
  ] as const) {
    const typed = `username: ${username}\n      password: ${password}\n`;
    it(`warns of ${warned.join(' and ') || 'nothing'} that a comment may have cut in ${JSON.stringify(typed)}`, async () => {
      const retype = (yaml: string): string => yaml.replace(/username: robot\n +password: canary\n/, typed);
      const registries = [{ ...REGISTRY, ...PASSWORD }];
      expect(await suspicions({ credentials: { registries } }, 0o600, retype)).to.deep.equal(
        warned.map(
          (setting) =>
            `credentials.registries.0.${setting}: ends before " #", a comment of YAML; text that holds " #" needs quotes`,
        ),
      );
    });
  }

  it('warns of a file with a password that is readable for all users', async () => {
    await writeFile(join(directory, 'password'), 'canary', { mode: 0o644 });
    const registries = [{ ...REGISTRY, username: 'robot', passwordFile: 'password' }];
    expect(await suspicions({ credentials: { registries } }, 0o644)).to.deep.equal([
      './password: holds a password, and all users of this machine can read it',
    ]);
  });

  it('warns of a password in a file that is readable for all users', async () => {
    expect(await suspicions({ credentials: { registries: [{ ...REGISTRY, ...PASSWORD }] } }, 0o644)).to.deep.equal([
      './my.yaml: holds a password, and all users of this machine can read it',
    ]);
  });
});
