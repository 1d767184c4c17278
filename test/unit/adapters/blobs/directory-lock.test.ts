import { expect } from 'chai';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';
import { type HeldDirectory, holdDirectory } from '../../../../src/adapters/blobs/directory-lock.ts';
import { rejection } from '../../../support/rejection.ts';

const LOCK = pathToFileURL(join(import.meta.dirname, '../../../../src/adapters/blobs/directory-lock.ts')).href;
/** Holds the directory of its first argument until its standard input ends. */
const HOLDER = `
  const { holdDirectory } = await import(${JSON.stringify(LOCK)});
  try {
    await holdDirectory(process.argv[1], 'in use');
    globalThis.gc();
    console.log('held');
    process.stdin.resume();
  } catch (error) {
    console.log(error.message);
  }`;

describe('holdDirectory', () => {
  let parent: string;
  let directory: string;
  const held: HeldDirectory[] = [];
  const children: ChildProcess[] = [];
  beforeEach(() => {
    parent = mkdtempSync(join(tmpdir(), 'directory-lock-'));
    directory = join(parent, 'cache');
    mkdirSync(directory);
  });
  afterEach(async () => {
    for (const lock of held.splice(0)) lock.release();
    for (const child of children.splice(0)) await end(child);
    rmSync(parent, { recursive: true, force: true });
  });

  async function hold(path = directory): Promise<HeldDirectory> {
    const lock = await holdDirectory(path, 'in use');
    held.push(lock);
    return lock;
  }

  /** Another process that tries to hold it. */
  function contend(): { child: ChildProcess; said: Promise<string> } {
    const child = spawn(process.execPath, ['--expose-gc', '--input-type=module', '-e', HOLDER, directory], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    children.push(child);
    const { stdout } = child;
    return { child, said: once(stdout, 'data').then(([data]) => String(data).trim()) };
  }

  async function end(child: ChildProcess): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }

  it('refuses a second holder, also under another path, until the first one releases the directory', async () => {
    const first = await hold();
    const moved = join(parent, 'moved');
    renameSync(directory, moved);
    expect(await rejection(hold(moved))).to.have.property('message', 'in use');
    renameSync(moved, directory);
    first.release();
    first.release();
    await hold();
  });

  it('refuses another process until the first process ends', async () => {
    const first = await hold();
    expect(await contend().said).to.equal('in use');
    first.release();
    expect(await contend().said).to.equal('held');
    expect(await rejection(hold())).to.have.property('message', 'in use');
  });

  it('is free again when its process is killed', async () => {
    const { child, said } = contend();
    expect(await said).to.equal('held');
    await end(child);
    await hold();
  });

  it('has one holder if several start at the same time', async () => {
    const contenders = Array.from({ length: 4 }, contend);
    const said = await Promise.all(contenders.map((contender) => contender.said));
    expect(said.sort()).to.deep.equal(['held', 'in use', 'in use', 'in use']);
  });

  it('uses one empty file that no other user can open, under any umask, and removes it', async () => {
    const umask = process.umask(0);
    const lock = await hold().finally(() => process.umask(umask));
    expect(readdirSync(directory)).to.deep.equal(['.lock']);
    const { mode, size } = statSync(join(directory, '.lock'));
    expect([mode & 0o777, size]).to.deep.equal([0o600, 0]);
    lock.release();
    expect(readdirSync(directory)).to.deep.equal([]);
  });

  it('refuses a link or a directory in the place of its file', async () => {
    symlinkSync('/etc/hostname', join(directory, '.lock'));
    expect(await rejection(hold())).to.have.property('message', `${directory}/.lock is not a file`);
    rmSync(join(directory, '.lock'));
    mkdirSync(join(directory, '.lock'));
    expect(await rejection(hold())).to.have.property('message', `${directory}/.lock is not a file`);
  });

  it('cannot be taken by a user that may not write the directory', async function () {
    if (process.geteuid?.() !== 0) return this.skip();
    chmodSync(parent, 0o755);
    (await hold()).release();
    const stranger = spawn(
      process.execPath,
      ['--input-type=module', '-e', HOLDER.replace('globalThis.gc();', ''), directory],
      { stdio: ['ignore', 'pipe', 'ignore'], uid: 65534, gid: 65534 },
    );
    expect(await text(stranger.stdout)).not.to.include('held');
    await hold();
    return undefined;
  });

  it('reports a missing directory', async () => {
    expect(await rejection(hold(join(parent, 'missing')))).to.have.property('code', 'ENOENT');
  });
});
