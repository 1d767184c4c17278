import { expect } from 'chai';
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { FakeRegistry } from '../support/fake-registry.ts';
import { OciLayout } from '../support/oci-layout.ts';
import { type Ended, runProgram } from '../support/program.ts';
import { findCanary } from '../support/service-process.ts';

describe('check-config', function () {
  // Each starts the program, on machines that do other things too.
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
      store: { directory: 'cache', maxSize: '1Mi' },
      credentials: { registries: [REGISTRY] },
      ...settings,
    };
    await writeFile(file, stringify(complete), { mode: 0o600 });
    return runProgram('check-config', '--config', file, ...flags);
  }

  it('has nothing to say of right settings, and makes nothing', async () => {
    expect(await check({})).to.deep.equal({ code: 0, stdout: 'the settings are right\n', stderr: '' });
    expect(await readdir(directory)).to.deep.equal(['my.yaml']);
  });

  it('says of mistakes what serve says', async () => {
    await writeFile(file, 'store: { maxSize: plenty }\nnonsense: 1\nlog:\n  level: loud\n');
    for (const flags of [[], ['--listen-address', 'here']]) {
      const checked = await runProgram('check-config', '--config', file, ...flags);
      expect(checked).to.include({ code: 1, stdout: '' });
      expect(checked.stderr.split('\n')).to.have.lengthOf(4 + flags.length / 2);
      expect(checked.stderr).to.include('my.yaml:4: log.level: ');
      expect(await runProgram('serve', '--config', file, ...flags)).to.deep.equal(checked);
    }
  });

  it('says with all mistakes which files cannot be read, and that no variable is replaced, as a start does', async () => {
    await writeFile(
      file,
      stringify({
        server: { tls: { certificate: 'a.pem', key: 'b.pem', clientCA: 'c.pem' } },
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
    expect(mistake).to.include('my.yaml:8: store.enabled: ');
    expect(rest.map((line) => line.split(': ').slice(0, 2).join(': '))).to.deep.equal([
      ...[...settings, 'registry.mirrors.0.tokenFile'].map((name) => `error: ${name}`),
      'warning: store.directory',
    ]);
    const served = await runProgram('serve', '--config', file);
    const errors = rest.filter((line) => line.startsWith('error: ')).map((line) => line.slice('error: '.length));
    expect(served).to.deep.equal({ code: 1, stdout: '', stderr: `${[mistake, ...errors].join('\n')}\n` });
  });

  it('says of a cache directory that others can write what serve says', async () => {
    const cache = join(directory, 'cache');
    await mkdir(cache);
    await chmod(cache, 0o777);
    const { code, stderr } = await check({});
    expect(code).to.equal(2);
    expect(stderr).to.equal(
      `error: store.directory: ${cache} can be written by other users: chmod go-w, or choose another directory\n`,
    );
  });

  it('says that the CA of a mirror is no path', async () => {
    const mirrors = [{ of: '*', endpoint: 'https://mirror.example', ca: '/etc/ssl/ca.crt' }];
    const { stderr } = await check({ registry: { mirrors } });
    expect(stderr).to.include('registry.mirrors.0.ca: is a path, and must be the PEM itself\n');
  });

  it('asks mirrors whether they are there, and warns of one that does not answer, refuses its account or needs one', async () => {
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

  it('warns, and is content', async () => {
    const { code, stdout, stderr } = await check({ server: { listenAddress: ':5080' }, credentials: {} });
    expect({ code, stdout }).to.deep.equal({ code: 0, stdout: 'the settings are right\n' });
    expect(stderr).to.match(/^warning: server\.listenAddress: .*\nwarning: credentials\.registries: .*\n$/);
  });

  it('judges the directories within that of the cache as serve does', async () => {
    await mkdir(join(directory, 'cache/v1'), { recursive: true, mode: 0o700 });
    await chmod(join(directory, 'cache/v1'), 0o777);
    const { code, stderr } = await check({ store: { directory: 'cache' } });
    expect(code).to.equal(2);
    expect(stderr).to.include(
      `store.directory: ${join(directory, 'cache/v1')} can be written by other users: chmod go-w`,
    );
  });

  it('says all that keeps serve from starting here', async () => {
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

  it('prints what is in effect as settings, and no secret', async () => {
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
