import { expect } from 'chai';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '../..');
const MAIN = join(ROOT, 'src/infrastructure/main.ts');

describe('standard output', function () {
  // Each test starts the program, which is slow on a machine under load.
  this.timeout(30_000);
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'standard-output-'));
  });
  afterEach(() => rm(directory, { recursive: true }));

  const PROGRAMS: [what: string, args: () => string[]][] = [
    ['a command that is done at once', () => ['--version']],
    ['a command that takes its time', () => ['check-config', '--config', join(ROOT, 'config/demo.yaml')]],
    ['a service', () => ['--listen-address', '127.0.0.1:0', '--cache-directory', directory]],
  ];
  const run = async (args: readonly string[], stdout: number | 'pipe') => {
    const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', stdout, 'pipe'] });
    // Long before it writes anything.
    child.stdout?.destroy();
    let stderr = '';
    child.stderr?.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    const [code] = (await once(child, 'close')) as [number | null];
    return { code, stderr };
  };

  it('that stalls does not keep a service alive after a signal', async () => {
    const args = [MAIN, '--listen-address', '127.0.0.1:0', '--cache-directory', directory];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'ignore'] });
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    const port = /"port":(\d+)/.exec(line.toString())?.[1] ?? '';
    child.stdout.pause();
    // The pipe and the socket of this process take some hundred lines.
    for (let index = 0; index < 1000; index++) await fetch(`http://127.0.0.1:${port}/${String(index)}`);
    child.kill();
    const [code] = (await once(child, 'exit')) as [number | null];
    expect(code).to.equal(0);
  });

  for (const [what, args] of PROGRAMS) {
    it(`on a full disk ends ${what} with a line about the error`, async () => {
      const full = await open('/dev/full', 'w');
      const end = await run(args(), full.fd);
      await full.close();
      expect(end).to.deep.equal({ code: 2, stderr: 'standard output: ENOSPC\n' });
    });

    it(`without a reader ends ${what} without a message`, async () => {
      expect(await run(args(), 'pipe')).to.deep.equal({ code: 1, stderr: '' });
    });
  }
});
