/** Starts all parts, prints how to use them, and ends them when the parent process ends or requests it. */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { findProgram } from '../../test/support/peers/binaries.ts';
import { MASTERS } from '../../test/support/peers/kubelets.ts';
import { Playground, type Programs, PROGRAMS } from './playground.ts';
import { busyPorts } from './ports.ts';

const ROOT = join(import.meta.dirname, '../..');
const HOME = join(ROOT, '.cache/playground');

const parentIsGone = new Promise<void>((resolve) => process.once('disconnect', resolve));

const obstacle = await obstacleHere();
if (obstacle === undefined) await play();
else {
  process.stderr.write(`${obstacle}\n`);
  process.exitCode = 1;
}
// The channel to the parent keeps the process alive.
if (process.connected) process.disconnect();

async function obstacleHere(): Promise<string | undefined> {
  const missing = PROGRAMS.filter((name) => findProgram(name) === undefined);
  if (missing.length > 0) return `The playground needs ${missing.join(', ')}: "npm run peers" installs them.`;
  const busy = await busyPorts(Object.values(MASTERS));
  return busy.length === 0 ? undefined : `Other processes listen at ${busy.join(', ')}: end them first.`;
}

async function play(): Promise<void> {
  const programs = Object.fromEntries(PROGRAMS.map((name) => [name, findProgram(name) ?? ''])) as Programs;
  const playground = new Playground(programs, (text) => process.stdout.write(`${text}\n`));
  const stopped = new AbortController();
  void parentIsGone.then(() => {
    stopped.abort();
  });
  try {
    await playground.start(stopped.signal);
    await writeFiles(playground, programs);
    process.stdout.write(instructions(programs.kubectl));
    await parentIsGone;
    process.stdout.write('The playground ends.\n');
  } catch (error) {
    if (!stopped.signal.aborted) throw error;
  } finally {
    await playground.close();
    await rm(HOME, { recursive: true, force: true });
  }
}

async function writeFiles(playground: Playground, { kubectl }: Programs): Promise<void> {
  await mkdir(HOME, { recursive: true });
  const file = (name: string): string => join(HOME, name);
  await writeFile(file('kubeconfig'), await readFile(await playground.kubeconfig()), { mode: 0o600 });
  const values = await playground.access();
  await writeFile(file('ca.crt'), values.ca);
  const variables = {
    KUBECONFIG: file('kubeconfig'),
    PATH: `${dirname(kubectl)}:$PATH`,
    PACKAGES_PROXY_ADDRESSES: Object.values(MASTERS)
      .map((address) => `${address}:4219`)
      .join(','),
    PACKAGES_PROXY_SCHEME: 'https',
    PACKAGES_PROXY_CA: file('ca.crt'),
    PACKAGES_PROXY_TOKEN: values.token,
  };
  const lines = Object.entries(variables).map(([name, value]) => `export ${name}="${value}"\n`);
  await writeFile(file('env'), lines.join(''), { mode: 0o600 });
}

function instructions(kubectl: string): string {
  return `
In another terminal:

  . .cache/playground/env       # KUBECONFIG, the token and the CA of nodes, and ${dirname(kubectl)} in PATH
  kubectl get nodes
  kubectl -n d8-cloud-instance-manager get pods -o wide
  examples/fetch-package.sh sha256:984490c296f64014805541e90aa487d181be9d7712bd9cbb69d0bcc6b09fadf5 package.tar.gz

The status page of the first master: http://127.0.0.1:5080/status
Ctrl-C ends it, and leaves nothing behind.
`;
}
