import { expect } from 'chai';
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ServiceProcess } from '../support/service-process.ts';

/** The service checks its settings for changes every two seconds. */
const PATIENCE_MS = 20_000;

describe('the level of the log', function () {
  this.timeout(PATIENCE_MS);
  let directory: string;
  let service: ServiceProcess;
  let versions = 0;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'config-'));
    await symlink('..data/settings.yaml', join(directory, 'settings.yaml'));
  });
  afterEach(async () => {
    await service.close();
    await rm(directory, { recursive: true });
  });

  /** Writes settings as the kubelet updates a ConfigMap: a new folder, and one symbolic link that is replaced. */
  async function configure(text: string): Promise<void> {
    const version = `..${String(++versions)}`;
    await mkdir(join(directory, version));
    await writeFile(join(directory, version, 'settings.yaml'), text);
    await symlink(version, join(directory, '..data_tmp'));
    await rename(join(directory, '..data_tmp'), join(directory, '..data'));
  }

  async function start(): Promise<void> {
    await configure('log: { level: info }');
    service = await ServiceProcess.start({
      flags: ['--config', join(directory, 'settings.yaml'), '--cache-directory', join(directory, 'cache')],
    });
  }

  it('follows the settings, and logs the change at the quieter of both levels', async () => {
    await start();
    await service.client('healthz');
    await configure('log: { level: debug }');
    expect(await service.logged('log level changed')).to.include({ level: 'info', previous: 'info', current: 'debug' });
    await service.client('readyz');
    await service.logged('request', { route: '/readyz' });
    expect(service.lines.filter(({ route }) => route === '/healthz')).to.deep.equal([]);

    await configure('log: { level: error }');
    await service.logged('log level changed', { previous: 'debug', current: 'error' });
    const lines = service.lines.length;
    await service.client('nowhere');
    await service.end();
    expect(service.lines).to.have.lengthOf(lines);
  });

  it('does not change while the settings are invalid, and logs their mistakes', async () => {
    await start();
    await configure('log: { level: canary-loud }');
    const { problems } = await service.logged('settings cannot be used, keeping the log level', { level: 'warn' });
    expect(problems).to.have.lengthOf(1);
    expect((problems as string[])[0]).to.match(/settings\.yaml:1: log\.level: /);
    await configure('{}');
    await configure('log: { level: debug }');
    await service.logged('log level changed', { previous: 'info', current: 'debug' });
  });
});
