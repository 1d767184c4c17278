import { expect } from 'chai';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCommandLine } from '../../../../src/adapters/cli/command-line.ts';
import { COMMANDS } from '../../../../src/infrastructure/commands/table.ts';
import { FakeTerminal } from '../../../support/fake-terminal.ts';

describe('loopback-keys', () => {
  let home: string;
  let terminal: FakeTerminal;
  beforeEach(async () => {
    terminal = new FakeTerminal();
    home = await mkdtemp(join(tmpdir(), 'keys-'));
    for (const name of ['service', 'sidecar']) await mkdir(join(home, name));
  });
  afterEach(() => rm(home, { recursive: true }));

  const run = (...args: readonly string[]): Promise<number> =>
    runCommandLine(
      ['loopback-keys', '--service', join(home, 'service'), '--sidecar', join(home, 'sidecar'), ...args],
      terminal,
      COMMANDS,
    );
  const read = (path: string): Promise<string> => readFile(join(home, path), 'utf8');
  const certificate = async (path: string): Promise<X509Certificate> => new X509Certificate(await read(path));

  it('makes certificates for a server and two clients from one CA, each with its own key and usage', async () => {
    expect(await run()).to.equal(0);
    const ca = await certificate('service/ca.crt');
    expect(await read('sidecar/ca.crt')).to.equal(await read('service/ca.crt'));
    expect(ca.ca).to.equal(true);
    const leaves = [
      ['service/tls', 'CN=registry-packages-proxy', '1.3.6.1.5.5.7.3.1'],
      ['service/client', 'CN=explain', '1.3.6.1.5.5.7.3.2'],
      ['sidecar/client', 'CN=sidecar', '1.3.6.1.5.5.7.3.2'],
    ] as const;
    const keys = new Set<string>();
    for (const [name, subject, usage] of leaves) {
      const leaf = await certificate(`${name}.crt`);
      const key = await read(`${name}.key`);
      expect(leaf.verify(ca.publicKey), name).to.equal(true);
      expect(leaf.checkPrivateKey(createPrivateKey(key)), name).to.equal(true);
      expect(leaf.subject, name).to.equal(subject);
      expect(leaf.keyUsage, name).to.deep.equal([usage]);
      expect(leaf.ca, name).to.equal(false);
      keys.add(key);
    }
    expect(keys.size).to.equal(3);
    expect((await certificate('service/tls.crt')).checkIP('127.0.0.1')).to.equal('127.0.0.1');
  });

  it('makes certificates that are valid at any time', async () => {
    await run();
    for (const name of ['service/ca.crt', 'service/tls.crt', 'sidecar/client.crt']) {
      const { validFromDate, validToDate } = await certificate(name);
      expect(validFromDate.getTime(), name).to.equal(0);
      expect(validToDate.toISOString(), name).to.equal('9999-12-31T23:59:59.000Z');
    }
  });

  it('does not store the key of the CA, and makes files that only their user can read', async () => {
    await run();
    expect((await readdir(join(home, 'service'))).sort()).to.deep.equal(
      ['ca.crt', 'client.crt', 'client.key', 'tls.crt', 'tls.key'].sort(),
    );
    expect((await readdir(join(home, 'sidecar'))).sort()).to.deep.equal(['ca.crt', 'client.crt', 'client.key']);
    expect((await stat(join(home, 'service/tls.key'))).mode & 0o777).to.equal(0o400);
  });

  it('replaces the files of an earlier run', async () => {
    await run();
    const before = await read('sidecar/client.key');
    expect(await run('--address', '127.0.0.2')).to.equal(0);
    expect(await read('sidecar/client.key')).not.to.equal(before);
    expect((await certificate('service/tls.crt')).checkIP('127.0.0.2')).to.equal('127.0.0.2');
  });

  it('names a missing or wrong flag, and a file that cannot be written', async () => {
    expect(await runCommandLine(['loopback-keys', '--service', home], terminal, COMMANDS)).to.equal(1);
    expect(await run('--address', '::1')).to.equal(1);
    await rm(join(home, 'sidecar'), { recursive: true });
    expect(await run()).to.equal(1);
    expect(terminal.stderr.text)
      .to.include('--sidecar is missing')
      .and.include('--address must be an IPv4 address')
      .and.include('sidecar/ca.crt cannot be written: ENOENT');
  });
});
