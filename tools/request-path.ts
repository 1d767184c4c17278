/** `npm run request:path -- [--files]`: lists the files of src that one request enters, from V8's precise coverage. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { get, type IncomingMessage } from 'node:http';
import { Session } from 'node:inspector/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';
import { stringify } from 'yaml';
import { FakeRegistry, PASSWORD, USERNAME } from '../test/support/fake-registry.ts';
import { FakeOutput, FakeTerminal } from '../test/support/fake-terminal.ts';
import { bytesOf, makeImage, type TestImage } from '../test/support/image.ts';

const ROOT = join(import.meta.dirname, '..');
const SOURCES = pathToFileURL(join(ROOT, 'src/')).href;
const SIZES = { '50 kB': 50_000, '3 MB': 3_000_000 };

interface Path {
  readonly what: string;
  /** The files with a function that ran. For the start, `loaded` has the files that were only loaded. */
  readonly files: readonly string[];
  readonly loaded: number;
  readonly functions: number;
  readonly calls: number;
}

/** Reads each line of the log, in order to wait until the service has logged the end of a request. */
class HeardOutput extends FakeOutput {
  readonly #hearers = new Set<() => void>();

  override write(text: string): void {
    super.write(text);
    for (const hear of this.#hearers) hear();
  }

  async said(pattern: RegExp): Promise<void> {
    if (pattern.test(this.text)) return;
    await new Promise<void>((resolve) => {
      const hear = (): void => {
        if (!pattern.test(this.text)) return;
        this.#hearers.delete(hear);
        resolve();
      };
      this.#hearers.add(hear);
    });
  }
}

class Coverage {
  readonly #session = new Session();

  async start(): Promise<void> {
    this.#session.connect();
    await this.#session.post('Profiler.enable');
    await this.#session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: false });
  }

  /** Returns the path since the previous call. */
  async take(what: string): Promise<Path> {
    const { result } = await this.#session.post('Profiler.takePreciseCoverage');
    const ours = result.filter(({ url }) => url.startsWith(SOURCES));
    const entered = ours.map(({ url, functions }) => ({
      file: relative(ROOT, new URL(url).pathname),
      isLoaded: functions.some(({ functionName, ranges }) => functionName === '' && ranges[0]?.startOffset === 0),
      called: functions
        .map(({ functionName, ranges }) => ({
          functionName,
          count: ranges[0]?.count ?? 0,
          start: ranges[0]?.startOffset,
        }))
        .filter(({ count, start }) => count > 0 && start !== 0),
    }));
    const called = entered.flatMap((file) => file.called).filter(({ functionName }) => functionName !== '');
    return {
      what,
      files: entered.filter((file) => file.called.length > 0).map(({ file }) => file),
      loaded: entered.filter(({ isLoaded }) => isLoaded).length,
      functions: called.length,
      calls: called.reduce((sum, { count }) => sum + count, 0),
    };
  }
}

const paths = await measure();
if (process.argv.includes('--json')) process.stdout.write(`${JSON.stringify(paths)}\n`);
else print(paths);

async function measure(): Promise<Path[]> {
  const registry = await FakeRegistry.start({ auth: 'bearer' });
  const home = await mkdtemp(join(tmpdir(), 'request-path-'));
  const images = Object.entries(SIZES).map(([size, bytes], index) => ({
    size,
    image: makeImage([bytesOf(bytes, index + 1)]),
  }));
  registry.publish(...images.map(({ image }) => image));
  const settings = {
    store: { directory: 'cache', scrubRate: 0 },
    credentials: {
      source: 'static',
      registries: [
        { repo: `${registry.host}/modules`, default: true, scheme: 'HTTP', username: USERNAME, password: PASSWORD },
      ],
    },
  };
  await writeFile(join(home, 'settings.yaml'), stringify(settings));
  const log = new HeardOutput();
  const terminal = new FakeTerminal(log);
  const coverage = new Coverage();
  try {
    await coverage.start();
    const { runCommandLine } = await import('../src/adapters/cli/command-line.ts');
    const { COMMANDS } = await import('../src/infrastructure/commands/table.ts');
    const args = ['--config', join(home, 'settings.yaml'), '--listen-address', '127.0.0.1:0'];
    const service = runCommandLine(args, terminal, COMMANDS);
    await log.said(/"listening"/);
    const result = [await coverage.take('start')];
    const port = Number(/"port":(\d+),"msg":"listening"/.exec(log.text)?.[1]);
    for (const outcome of ['miss', 'hit']) {
      for (const { size, image } of images) {
        await request(port, image, log, outcome);
        result.push(await coverage.take(`${outcome} ${size}`));
      }
    }
    terminal.interrupt();
    await service;
    return result;
  } finally {
    await registry.close();
    await rm(home, { recursive: true });
  }
}

/** Resolves when the request is logged and, after a miss, both blobs are stored. */
async function request(port: number, { digest }: TestImage, log: HeardOutput, outcome: string): Promise<void> {
  log.text = '';
  const request = get({ port, host: '127.0.0.1', path: `/package?digest=${digest}`, agent: false });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  await buffer(response);
  await log.said(new RegExp(`"cache":"${outcome}"[^]*"request"`));
  if (outcome === 'miss') await log.said(/"blob kept"[^]*"blob kept"/);
}

function print(rows: readonly Path[]): void {
  row('request', 'files entered', 'named functions', 'calls', 'lines of those files');
  for (const { what, files, loaded, functions, calls } of rows) {
    row(what, ...[files.length, functions, calls, linesOf(files)].map(String));
    if (what === 'start') row('  (loaded)', String(loaded));
    if (process.argv.includes('--files')) process.stdout.write(files.map((file) => `    ${file}\n`).join(''));
  }
}

function linesOf(files: readonly string[]): number {
  return files.reduce((sum, file) => sum + readFileSync(join(ROOT, file), 'utf8').split('\n').length - 1, 0);
}

function row(what: string, ...figures: string[]): void {
  process.stdout.write(`${what.padEnd(12)}${figures.map((figure) => figure.padStart(22)).join('')}\n`);
}
