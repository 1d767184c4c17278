// Leaves global names: loaded here, they are no leak of a test that loads a command.
import 'zod';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { expect } from 'chai';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { commandHelp, runCommandLine } from '../../src/adapters/cli/command-line.ts';
import { COMMANDS } from '../../src/infrastructure/commands/table.ts';
import { FakeTerminal } from '../support/fake-terminal.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { makePackage } from '../support/image.ts';
import { ServiceProcess } from '../support/service-process.ts';

const ROOT = join(import.meta.dirname, '../..');
const SCHEMAS = join(ROOT, 'docs/schemas');
/** Its log is JSON without a flag. */
const WITHOUT_JSON = ['serve'];

describe('--json', function () {
  this.timeout(60_000);
  const image = makePackage(1000);
  const absent = makePackage(2000);
  let directory: string;
  let registry: FakeRegistry;
  let service: ServiceProcess;
  let ajv: Ajv2020;
  let settings: string;
  let list: string;
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'json-'));
    registry = await FakeRegistry.start();
    registry.publish(image);
    const credentials = { registries: [{ repo: `${registry.host}/deckhouse/ee`, default: true, scheme: 'HTTP' }] };
    service = await ServiceProcess.start({ settings: { credentials } });
    settings = join(directory, 'my.yaml');
    await writeFile(settings, JSON.stringify({ store: { directory: 'cache', maxSize: '1Mi' }, credentials }));
    list = join(directory, 'packages.txt');
    await writeFile(list, `${image.digest}\n${absent.digest}\n`);
    for (const name of ['service', 'sidecar']) await mkdir(join(directory, name));
    ajv = new Ajv2020({ strict: false, formats: { 'date-time': true } });
    const openapi = parse(await readFile(join(ROOT, 'docs/openapi.yaml'), 'utf8')) as object;
    ajv.addSchema(openapi, 'schemas:/docs/openapi.yaml');
  });
  after(async () => {
    await service.close();
    await registry.close();
    await rm(directory, { recursive: true });
  });

  /** Runs a command, and returns its document after a check against the schema. */
  async function run(command: string, args: readonly string[], expected: number): Promise<Record<string, unknown>> {
    const terminal = new FakeTerminal();
    expect(await runCommandLine([command, ...args, '--json'], terminal, COMMANDS), terminal.stderr.text).to.equal(
      expected,
    );
    const schema = JSON.parse(await readFile(join(SCHEMAS, `${command}.schema.json`), 'utf8')) as object;
    const validate = ajv.compile({ $id: `schemas:/docs/schemas/${command}-${String(Math.random())}`, ...schema });
    const document = JSON.parse(terminal.stdout.text) as Record<string, unknown>;
    validate(document);
    expect(validate.errors, terminal.stdout.text).to.equal(null);
    return document;
  }

  it('is a flag of every command, and each document has a schema', async () => {
    const named = COMMANDS.filter(({ name }) => !WITHOUT_JSON.includes(name));
    for (const row of named) expect(commandHelp(row, await row.load()), row.name).to.match(/^ {2}--json /m);
    expect(await readdir(SCHEMAS)).to.have.members(named.map(({ name }) => `${name}.schema.json`));
  });

  it('of version prints a document', async () => {
    expect(await run('version', [], 0)).to.include({ version: '1.2.3', platform: process.platform });
  });

  it('of check-config separates mistakes, errors and warnings', async () => {
    expect(await run('check-config', ['--config', settings], 0)).to.include({ verdict: 'right', settings: null });
    expect(await run('check-config', ['--config', settings, '--print'], 0)).to.have.nested.property(
      'settings.log.level',
    );
    expect(await run('check-config', ['--config', settings, '--cache-directory', list], 2)).to.include({
      verdict: 'right_elsewhere',
    });
    const { registries } = await run('check-config', ['--config', settings, '--online'], 0);
    const answer = { setting: 'credentials.registries.0', host: registry.host, outcome: 'answers' };
    expect(registries).to.deep.equal([answer]);
    const { mistakes } = await run('check-config', ['--config', settings, '--log-level', 'loud'], 1);
    expect(mistakes).to.have.lengthOf(1);
  });

  it('of mirror, prefetch and verify prints the counts and the failed packages', async () => {
    const failures = [{ place: `${list}:2`, digest: absent.digest, reason: 'package not found' }];
    const of = (found: unknown) =>
      (found as { reason: string }[]).map((one) => ({ ...one, reason: one.reason.split(':')[0] }));
    const mirror = join(directory, 'mirror');
    const mirrored = await run('mirror', ['--config', settings, '--list', list, '--output', mirror], 2);
    expect(mirrored).to.include({ packages: 2, mirrored: 1, ended: null });
    expect(of(mirrored['failures'])).to.deep.equal(failures);
    const cached = await run('prefetch', ['--config', settings, '--list', list], 2);
    expect(cached).to.include({ packages: 2, fetched: 1, hits: 0 });
    expect(of(cached['failures'])).to.deep.equal(failures);
    expect(await run('verify', [mirror], 0))
      .to.include({ blobs: 3 })
      .and.deep.include({ findings: [] });
  });

  it('of explain prints the answer of the service and the result of --verify', async () => {
    const args = ['--digest', image.digest, '--url', `http://127.0.0.1:${String(service.port)}`];
    expect(await run('explain', args, 0)).to.have.nested.property('verdict.outcome', 'miss');
    expect(await run('explain', [...args, '--verify'], 0)).to.have.nested.property('verification.outcome', 'unknown');
    expect((await service.client(`package?digest=${image.digest}`)).statusCode).to.equal(200);
    expect(await run('explain', [...args, '--verify'], 0)).to.have.nested.property('verification.outcome', 'same');
  });

  it('of top prints one sample of the service', async () => {
    const args = ['--url', `http://127.0.0.1:${String(service.port)}`, '--count', '1'];
    expect(await run('top', args, 0)).to.include({ state: 'running', interval: null });
  });

  it('of loopback-keys prints the names of the files, and of completion the script', async () => {
    const directories = ['--service', join(directory, 'service'), '--sidecar', join(directory, 'sidecar')];
    expect((await run('loopback-keys', directories, 0))['files']).to.include(join(directory, 'sidecar/client.key'));
    expect(await run('completion', ['bash'], 0))
      .to.have.property('script')
      .that.includes('--json');
  });
});
