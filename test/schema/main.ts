/** Compares running services with docs/openapi.yaml by requests that Schemathesis generates: `npm run test:schema`. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startExampleRegistry } from '../support/example-registry.ts';
import { FakeKubeApi } from '../support/fake-kube-api.ts';
import { ServiceProcess } from '../support/service-process.ts';

const OPENAPI = join(import.meta.dirname, '../../docs/openapi.yaml');
/** The program, as tools/schemathesis.sh has installed it. */
const SCHEMATHESIS = process.env['SCHEMATHESIS'] ?? 'schemathesis';
const CONFIGURATION = join(import.meta.dirname, 'schemathesis.toml');

const { values } = parseArgs({ options: { examples: { type: 'string', default: '500' }, seed: { type: 'string' } } });

/** Runs Schemathesis with its whole output; false after a failure. */
async function holds(what: string, { port }: ServiceProcess, home: string): Promise<boolean> {
  process.stdout.write(`\n== a service ${what}\n`);
  const target = ['--url', `http://127.0.0.1:${String(port)}`, '--max-examples', values.examples, '--checks', 'all'];
  const output = ['--continue-on-failure', '--warnings', 'off', '--generation-database', 'none'];
  const seed = values.seed === undefined ? [] : ['--seed', values.seed];
  const child = spawn(SCHEMATHESIS, ['--config-file', CONFIGURATION, 'run', OPENAPI, ...target, ...output, ...seed], {
    cwd: home,
    stdio: 'inherit',
  });
  const [code] = (await once(child, 'exit')) as [number | null];
  return code === 0;
}

const registry = await startExampleRegistry();
const api = await FakeKubeApi.start();
api.listStatus = 503;
const home = await mkdtemp(join(tmpdir(), 'schema-'));
await writeFile(join(home, 'kubeconfig'), api.config.exportConfig());
const registries = [
  { repo: `${registry.host}/deckhouse/ee`, default: true, scheme: 'HTTP' },
  { repo: 'registry.example.com/deckhouse/ee' },
];
const settings = { credentials: { registries }, registry: { timeouts: { headersSeconds: 0.2, retrySeconds: 0 } } };
const kubeconfig = join(home, 'kubeconfig');
const services: [what: string, service: ServiceProcess][] = [
  ['that keeps packages', await ServiceProcess.start({ settings })],
  ['that keeps nothing', await ServiceProcess.start({ settings, flags: ['--disable-cache'] })],
  [
    'without credentials yet',
    await ServiceProcess.start({
      settings: { credentials: { source: 'kubernetes' } },
      flags: ['--kubeconfig', kubeconfig],
    }),
  ],
];
let failed = 0;
try {
  for (const [what, service] of services) if (!(await holds(what, service, home))) failed++;
} finally {
  for (const [, service] of services) await service.close();
  await api.close();
  await registry.close();
  await rm(home, { recursive: true });
}
process.stdout.write(`${String(services.length - failed)} passed, ${String(failed)} failed\n`);
process.exitCode = failed === 0 ? 0 : 1;
