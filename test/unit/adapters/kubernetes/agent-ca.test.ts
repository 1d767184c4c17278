import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { mkdtemp, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AgentCa } from '../../../../src/adapters/kubernetes/agent-ca.ts';
import { CA, SECOND_ROOT } from '../../../support/tls/certificates.ts';

describe('AgentCa', () => {
  let home: string;
  let file: string;
  let told: string[];
  let agentCa: AgentCa;
  beforeEach(async () => {
    home = await mkdtemp(join(tmpdir(), 'agent-'));
    file = join(home, 'ca.crt');
    told = [];
    agentCa = new AgentCa({ file, onUnusable: (reason) => told.push(reason) });
  });
  afterEach(() => rm(home, { recursive: true }));

  it('follows a file that appears, is replaced, is emptied and disappears', async () => {
    expect(await agentCa.read()).to.equal(undefined);
    await writeFile(file, CA);
    expect(await agentCa.read()).to.deep.equal([CA]);
    await writeFile(join(home, 'new'), `${CA}${SECOND_ROOT}`);
    await rename(join(home, 'new'), file);
    expect(await agentCa.read()).to.deep.equal([CA, SECOND_ROOT]);
    await writeFile(file, '');
    expect(await agentCa.read()).to.equal(undefined);
    await writeFile(file, SECOND_ROOT);
    expect(await agentCa.read()).to.deep.equal([SECOND_ROOT]);
    await rm(file);
    expect(await agentCa.read()).to.equal(undefined);
    expect(told).to.deep.equal([]);
  });

  it('notices another file of the same size and time by its inode', async () => {
    const write = (name: string, certificate: string): Promise<void> =>
      writeFile(join(home, name), certificate.padEnd(8192, '\n'));
    await write('ca.crt', CA);
    const { atime, mtime } = await stat(file);
    expect(await agentCa.read()).to.deep.equal([CA]);
    await write('new', SECOND_ROOT);
    await utimes(join(home, 'new'), atime, mtime);
    await utimes(file, atime, mtime);
    expect(await agentCa.read()).to.deep.equal([CA]);
    await rename(join(home, 'new'), file);
    expect(await agentCa.read()).to.deep.equal([SECOND_ROOT]);
  });

  it('returns the same array while the certificates are the same, so that connections stay', async () => {
    await writeFile(file, CA);
    const before = await agentCa.read();
    await utimes(file, 1, 1);
    expect(await agentCa.read()).to.equal(before);
    await writeFile(file, `# a comment\n${CA}`);
    const [one, other] = await Promise.all([agentCa.read(), agentCa.read()]);
    expect([one, other]).to.deep.equal([before, before]);
    expect(one).to.equal(before);
  });

  it('treats a file that cannot be used as absent, and reports it once', async () => {
    await writeFile(file, 'nonsense');
    for (let time = 0; time < 3; time++) expect(await agentCa.read()).to.equal(undefined);
    expect(told).to.deep.equal(['ca: has no PEM certificate']);
    await writeFile(file, CA);
    expect(await agentCa.read()).to.deep.equal([CA]);
  });

  it('reads no pipe, and no file of more than a mebibyte', async () => {
    execFileSync('mkfifo', [file]);
    expect(await agentCa.read()).to.equal(undefined);
    await rm(file);
    await writeFile(file, CA.padEnd(1024 * 1024 + 1, '\n'));
    expect(await agentCa.read()).to.equal(undefined);
    expect(told).to.deep.equal(['is not a file of certificates', 'is not a file of certificates']);
  });
});
