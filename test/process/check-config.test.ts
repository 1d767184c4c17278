import { expect } from 'chai';
import { createPrivateKey } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { FakeRegistry, PASSWORD, USERNAME } from '../support/fake-registry.ts';
import { OciLayout } from '../support/oci-layout.ts';
import { type Ended, runProgram } from '../support/program.ts';
import { CA, serverCertificate } from '../support/tls/certificates.ts';
import { findCanary } from '../support/service-process.ts';

describe('check-config', function () {
  // Each test starts the program, which is slow on a machine under load.
  this.timeout(30_000);
  let directory: string;
  let file: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'check-config-'));
    file = join(directory, 'my.yaml');
  });
  afterEach(() => rm(directory, { recursive: true }));

  const REGISTRY = { repo: 'registry.example.com/a', default: true };

  async function check(settings: object, ...flags: string[]): Promise<Ended> {
    const complete = {
      server: { listenAddress: '127.0.0.1:0' },
      store: { directory: 'cache', maxSize: '1Mi' },
      credentials: { registries: [REGISTRY] },
      ...settings,
    };
    await writeFile(file, stringify(complete), { mode: 0o600 });
    return runProgram('check-config', '--config', file, ...flags);
  }

  it('prints no warning for valid settings, and creates no file', async () => {
    expect(await check({})).to.deep.equal({ code: 0, stdout: 'the settings are right\n', stderr: '' });
    expect(await readdir(directory)).to.deep.equal(['my.yaml']);
  });

  it('reports the same mistakes as serve', async () => {
    await writeFile(
      file,
      'store: { maxSize: plenty }\nnonsense: 1\nlog:\n  level: loud\nserver: { listenAddress: 127.0.0.1:0 }\n',
    );
    for (const flags of [[], ['--listen-address', 'here']]) {
      const checked = await runProgram('check-config', '--config', file, ...flags);
      expect(checked).to.include({ code: 1, stdout: '' });
      expect(checked.stderr.split('\n')).to.have.lengthOf(4 + flags.length / 2);
      expect(checked.stderr).to.include('my.yaml:4: log.level: ');
      expect(await runProgram('serve', '--config', file, ...flags)).to.deep.equal(checked);
    }
  });

  it('reports unreadable files and variables in the settings together with all mistakes, as serve does', async () => {
    await writeFile(
      file,
      stringify({
        server: { listenAddress: '127.0.0.1:0', tls: { certificate: 'a.pem', key: 'b.pem', clientCA: 'c.pem' } },
        store: { directory: '${CACHE}', enabled: 'yes' },
        registry: {
          mirrors: [{ of: '*', endpoint: 'https://mirror.example', tokenFile: 'token' }],
          signature: { mode: 'off', keys: 'unused.pem' },
        },
      }),
    );
    const { code, stdout, stderr } = await runProgram('check-config', '--config', file);
    expect({ code, stdout }).to.deep.equal({ code: 1, stdout: '' });
    const settings = ['tls.certificate', 'tls.key', 'tls.clientCA'].map((name) => `server.${name}`);
    const [mistake, ...rest] = stderr.trim().split('\n');
    expect(mistake).to.include('my.yaml:9: store.enabled: ');
    expect(rest.map((line) => line.split(': ').slice(0, 2).join(': '))).to.deep.equal([
      ...[...settings, 'registry.mirrors.0.tokenFile'].map((name) => `error: ${name}`),
      'warning: store.directory',
    ]);
    const served = await runProgram('serve', '--config', file);
    const errors = rest.filter((line) => line.startsWith('error: ')).map((line) => line.slice('error: '.length));
    expect(served).to.deep.equal({ code: 1, stdout: '', stderr: `${[mistake, ...errors].join('\n')}\n` });
  });

  for (const [what, files, told] of [
    ['of another key', { key: 'other.key' }, 'server.tls: DIRECTORY/other.key is not the key of DIRECTORY/own.pem'],
    [
      'in the place of the key',
      { key: 'own.pem' },
      'server.tls.key: DIRECTORY/own.pem has no PEM block of a private key',
    ],
    [
      'whose key has a passphrase',
      { key: 'encrypted.key' },
      'server.tls.key: DIRECTORY/encrypted.key is encrypted with a passphrase: decrypt it, for example by "openssl pkey -in FILE -out FILE"',
    ],
    [
      'whose key has a passphrase in the older form',
      { key: 'old.key' },
      'server.tls.key: DIRECTORY/old.key is encrypted with a passphrase: decrypt it, for example by "openssl pkey -in FILE -out FILE"',
    ],
    [
      'that is empty',
      { certificate: 'empty' },
      'server.tls.certificate: DIRECTORY/empty has no PEM block of a certificate',
    ],
  ] as const) {
    it(`names the wrong file for a certificate ${what}`, async () => {
      const [own, other] = [serverCertificate('localhost'), serverCertificate('elsewhere')];
      const encrypted = { format: 'pem', cipher: 'aes-256-cbc', passphrase: 'canary' } as const;
      const contents = {
        'own.pem': own.cert,
        'own.key': own.key,
        'other.key': other.key,
        'encrypted.key': createPrivateKey(own.key).export({ ...encrypted, type: 'pkcs8' }),
        'old.key': createPrivateKey(own.key).export({ ...encrypted, type: 'sec1' }),
        'ca.pem': CA,
        empty: '',
      };
      for (const [name, text] of Object.entries(contents)) await writeFile(join(directory, name), text);
      const tls = { certificate: 'own.pem', key: 'own.key', clientCA: 'ca.pem', ...files };
      const { code, stderr } = await check({ server: { listenAddress: '127.0.0.1:0', tls } });
      expect(code).to.equal(2);
      expect(stderr).to.equal(`error: ${told.replaceAll('DIRECTORY', directory)}\n`);
    });
  }

  it('checks ports, certificates and the cache directory beside mistakes in other settings', async () => {
    const own = serverCertificate('localhost');
    for (const [name, text] of Object.entries({ 'own.pem': own.cert, 'other.key': serverCertificate('elsewhere').key }))
      await writeFile(join(directory, name), text);
    await writeFile(join(directory, 'file'), '');
    const tls = { certificate: 'own.pem', key: 'other.key', clientCA: 'own.pem' };
    const { code, stdout, stderr } = await check({
      server: { listenAddress: '192.0.2.1:5080', tls },
      store: { directory: 'file' },
      log: { level: 'loud' },
    });
    expect({ code, stdout }).to.deep.equal({ code: 1, stdout: '' });
    const [mistake, ...errors] = stderr.trim().split('\n');
    expect(mistake).to.include('log.level: ');
    const expected = [
      `error: server.tls: ${directory}/other.key is not the key of ${directory}/own.pem`,
      `error: store.directory: ${directory}/file is no directory`,
      'error: cannot listen on 192.0.2.1:5080 (EADDRNOTAVAIL): ',
    ];
    expect(errors).to.have.lengthOf(expected.length);
    for (const [index, start] of expected.entries())
      expect(errors[index]).to.match(new RegExp(`^${RegExp.escape(start)}`));
  });

  it('refuses a cache directory that other users can write, with the message of serve', async () => {
    const cache = join(directory, 'cache');
    await mkdir(cache);
    await chmod(cache, 0o777);
    const { code, stderr } = await check({});
    expect(code).to.equal(2);
    expect(stderr).to.equal(
      `error: store.directory: ${cache} can be written by other users: chmod go-w, or choose another directory\n`,
    );
  });

  it('reports that the CA of a mirror is not a path', async () => {
    const mirrors = [{ of: '*', endpoint: 'https://mirror.example', ca: '/etc/ssl/ca.crt' }];
    const { stderr } = await check({ registry: { mirrors } });
    expect(stderr).to.include('registry.mirrors.0.ca: is a path, and must be the PEM itself\n');
  });

  it('connects to mirrors, and warns about a mirror that does not answer, refuses its account or requires one', async () => {
    const registry = await FakeRegistry.start();
    const refusing = await FakeRegistry.start({ auth: 'basic' });
    for (const name of ['username', 'password'])
      await writeFile(join(directory, name), 'canary-robot', { mode: 0o600 });
    const account = { usernameFile: join(directory, 'username'), passwordFile: join(directory, 'password') };
    const mirrors = [
      { of: '*', endpoint: `http://${registry.host}` },
      { of: 'registry.example.com', endpoint: 'http://127.0.0.1:1' },
      { of: '*', endpoint: `http://${refusing.host}` },
      { of: '*', endpoint: `http://${refusing.host}`, ...account },
    ];
    const { code, stderr } = await check({ registry: { mirrors, timeouts: { retrySeconds: 0 } } });
    expect(code).to.equal(0);
    expect(stderr.split('\n').filter((line) => line.includes('cannot be used'))).to.have.lengthOf(3);
    expect(stderr).to.match(/^warning: registry\.mirrors\.1: 127\.0\.0\.1:1 cannot be used: /m);
    expect(stderr).to.match(
      /^warning: registry\.mirrors\.2: .* cannot be used: registry asks for a password, and none /m,
    );
    expect(stderr).to.match(/^warning: registry\.mirrors\.3: .* cannot be used: registry refused the /m);
    await registry.close();
    await refusing.close();
  });

  it('exits with 0 if there are only warnings', async () => {
    const { code, stdout, stderr } = await check({ server: { listenAddress: ':5080' }, credentials: {} });
    expect({ code, stdout }).to.deep.equal({ code: 0, stdout: 'the settings are right\n' });
    expect(stderr).to.match(/^warning: server\.listenAddress: .*\nwarning: credentials\.registries: .*\n$/);
  });

  it('warns about a port in use, and opens the other ports', async () => {
    const registry = await FakeRegistry.start();
    const { host } = registry;
    const server = { listenAddress: host };
    const taken = await check({ server });
    await registry.close();
    const { code, stderr } = await check({ server, bootstrap: { listenAddress: host, clusterUUID: 'a' } });
    expect({ code, stderr }).to.deep.equal({
      code: 2,
      stderr: 'error: bootstrap.listenAddress: needs another port than server.listenAddress\n',
    });
    expect(taken).to.include({ code: 0, stdout: 'the settings are right\n' });
    const warning = `another process listens on ${host}; this is no mistake if it is the running service`;
    expect(taken.stderr).to.equal(`warning: server.listenAddress: ${warning}\n`);
    expect(await check({ server })).to.deep.equal({ code: 0, stdout: 'the settings are right\n', stderr: '' });
  });

  it('refuses an address that this machine does not have, with the message of serve', async () => {
    const { code, stderr } = await check({ server: { listenAddress: '192.0.2.1:5080', tls: undefined } });
    expect(code).to.equal(2);
    expect(stderr).to.include(
      'error: cannot listen on 192.0.2.1:5080 (EADDRNOTAVAIL): this machine has no such address: take one that it has, or set another server.listenAddress\n',
    );
  });

  it('names the setting with a host name that does not resolve', async () => {
    const { code, stderr } = await check({ server: { listenAddress: 'nowhere.invalid:5080' } });
    expect(code).to.equal(2);
    expect(stderr).to.match(
      /^error: cannot listen on nowhere\.invalid:5080 \((?:ENOTFOUND|EAI_AGAIN)\): this machine cannot resolve the name: give its address, or set another server\.listenAddress$/m,
    );
  });

  describe('--online', () => {
    let open: FakeRegistry;
    let basic: FakeRegistry;
    let bearer: FakeRegistry;
    beforeEach(async () => {
      open = await FakeRegistry.start();
      basic = await FakeRegistry.start({ auth: 'basic' });
      bearer = await FakeRegistry.start({ auth: 'bearer' });
    });
    afterEach(async () => {
      for (const registry of [open, basic, bearer]) await registry.close();
    });
    const timeouts = { headersSeconds: 0.2, retrySeconds: 0 };
    const online = (registries: object[], ...flags: string[]): Promise<Ended> =>
      check({ credentials: { registries }, registry: { timeouts } }, '--online', ...flags);
    const at = ({ host }: FakeRegistry, more: object = {}, path = '/deckhouse') => ({
      ...{ repo: `${host}${path}`, scheme: 'HTTP' },
      ...more,
    });

    it('sends a request to each registry with its account, and prints that the registry answers', async () => {
      const account = { username: USERNAME, password: PASSWORD };
      const { code, stdout, stderr } = await online([
        at(open, { default: true }),
        at(basic, account),
        at(bearer, account),
        at(open, {}, ''),
      ]);
      const hosts = [open, basic, bearer, open].map(({ host }) => host);
      const lines = hosts.map((host, index) => `credentials.registries.${String(index)}: ${host} answers\n`);
      expect({ code, stdout }).to.deep.equal({ code: 0, stdout: `${lines.join('')}the settings are right\n` });
      expect(stderr).not.to.include('error: ');
      expect(findCanary(stdout + stderr)).to.equal(undefined);
    });

    it('reports an empty answer of a registry as an error', async () => {
      open.script((_, response) => {
        response.end();
        return true;
      });
      const { code, stderr } = await online([at(open, { default: true })]);
      expect(code).to.equal(2);
      expect(stderr).to.include('manifest from ').and.to.include('answer is empty, not a manifest\n');
    });

    it('warns if the settings name no registry', async () => {
      const { code, stderr } = await online([]);
      expect(code).to.equal(0);
      expect(stderr).to.include('warning: --online: credentials.registries is empty, so no registry is asked\n');
    });

    it('reports each registry that refuses its account, requires one, sends no answer or cannot be reached', async () => {
      open.script(() => true);
      const { code, stdout, stderr } = await online([
        at(basic, { default: true, username: USERNAME, password: 'canary-wrong' }),
        at(basic, {}, '/other'),
        at(open),
        { repo: '127.0.0.1:1/a', scheme: 'HTTP' },
      ]);
      expect({ code, stdout }).to.deep.equal({ code: 2, stdout: 'the settings are right, but not here\n' });
      const errors = stderr.split('\n').filter((line) => line.startsWith('error: '));
      expect(errors).to.have.lengthOf(4);
      expect(errors[0]).to.match(/registries\.0: \S+ refuses the account: registry refused .* status 401/);
      expect(errors[1]).to.match(/registries\.1: \S+ refuses the account: registry asks for a password, and none is/);
      expect(errors[2]).to.match(/registries\.2: \S+ cannot be asked: registry did not answer in time: /);
      expect(errors[3]).to.match(
        /registries\.3: 127\.0\.0\.1:1 cannot be asked: registry is unavailable: .*ECONNREFUSED/,
      );
      expect(findCanary(stdout + stderr)).to.equal(undefined);
    });
  });

  it('checks the directories below the cache directory as serve does', async () => {
    await mkdir(join(directory, 'cache/v1'), { recursive: true, mode: 0o700 });
    await chmod(join(directory, 'cache/v1'), 0o777);
    const { code, stderr } = await check({ store: { directory: 'cache' } });
    expect(code).to.equal(2);
    expect(stderr).to.include(
      `store.directory: ${join(directory, 'cache/v1')} can be written by other users: chmod go-w`,
    );
  });

  it('reports all errors that prevent a start on this machine', async () => {
    await writeFile(join(directory, 'file'), '');
    const { code, stdout, stderr } = await check({
      server: { tls: { certificate: 'no.pem', key: 'no.pem', clientCA: 'no.pem' } },
      store: { directory: 'file/cache', maxSize: '1Mi' },
      registry: { gateway: 'oci-layout', ociLayout: { directory: 'mirror' } },
    });
    expect({ code, stdout }).to.deep.equal({ code: 2, stdout: 'the settings are right, but not here\n' });
    expect(stderr).to.match(/^(error: .*\n){5}$/);
    for (const name of ['certificate', 'key', 'clientCA'])
      expect(stderr).to.include(`server.tls.${name}: ${join(directory, 'no.pem')} cannot be read (ENOENT)\n`);
    const cache = join(directory, 'file/cache');
    expect(stderr).to.include(`store.directory: ${cache} cannot be made: ${join(directory, 'file')} is no directory\n`);
    expect(stderr).to.include(`${join(directory, 'mirror')} is not an OCI image layout`);

    await new OciLayout(join(directory, 'mirror')).create();
    const registry = { gateway: 'oci-layout', ociLayout: { directory: 'mirror' } };
    expect(await check({ registry })).to.include({ code: 0, stderr: '' });
  });

  it('prints the settings in effect without secrets', async () => {
    const dockerCfg = Buffer.from(
      JSON.stringify({ auths: { 'registry.example.com': { auth: Buffer.from('a:canary').toString('base64') } } }),
    ).toString('base64');
    const registries = [
      { ...REGISTRY, username: 'robot', password: 'canary-1' },
      { repo: 'registry.example.com/b', username: 'canary-token', password: 'x-oauth-basic' },
      { repo: 'registry.example.com/c', dockerCfg },
    ];
    const { code, stdout, stderr } = await check({ credentials: { registries } }, '--log-level=debug', '--print');
    expect({ code, stderr }).to.deep.equal({ code: 0, stderr: '' });
    expect(findCanary(stdout)).to.equal(undefined);
    const printed = parse(stdout) as Record<string, unknown>;
    expect(printed).to.have.nested.property('log.level', 'debug');
    expect(printed).to.have.nested.property('store.directory', join(directory, 'cache'));
    expect(printed).to.have.nested.property('registry.timeouts.retrySeconds', 5);
    expect(printed)
      .to.have.nested.property('credentials.registries')
      .that.deep.equals([
        { ...REGISTRY, username: 'robot', password: '[secret]' },
        { repo: 'registry.example.com/b', username: '[secret]', password: '[secret]' },
        { repo: 'registry.example.com/c', dockerCfg: '[secret]' },
      ]);
  });
});
