import { expect } from 'chai';
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { FileSigningKeys } from '../../../../src/adapters/s3/s3-credentials.ts';
import { UpstreamDeniedError } from '../../../../src/domain/errors.ts';
import { rejection } from '../../../support/rejection.ts';

describe('FileSigningKeys', () => {
  let directory: string;
  let now: number;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'signing-keys-'));
    now = 0;
  });
  afterEach(() => rm(directory, { recursive: true }));

  const open = (path = directory): FileSigningKeys => new FileSigningKeys(path, () => now);
  const write = async (folder: string, files: Readonly<Record<string, string>>): Promise<void> => {
    await mkdir(folder, { recursive: true });
    for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  };

  it('reads the files of a mounted Secret without final line breaks, and shows no secret', async () => {
    await write(directory, { accessKeyID: 'AKID\n', secretAccessKey: 'canary-one\n', sessionToken: 'canary-token' });
    const keys = await open().current();
    expect(keys.accessKeyId).to.equal('AKID');
    expect(keys.secretAccessKey.reveal()).to.equal('canary-one');
    expect(keys.sessionToken?.reveal()).to.equal('canary-token');
    expect(`${JSON.stringify(keys)}${inspect(keys)}`).not.to.include('canary');
  });

  it('works without a session token', async () => {
    await write(directory, { accessKeyID: 'AKID', secretAccessKey: 'canary-one' });
    expect((await open().current()).sessionToken).to.equal(undefined);
  });

  it('reads a Secret that the kubelet has replaced after a second, or when the keys are refused', async () => {
    await write(join(directory, '..1'), { accessKeyID: 'ONE', secretAccessKey: 'canary-one' });
    await symlink('..1', join(directory, '..data'));
    for (const name of ['accessKeyID', 'secretAccessKey']) await symlink(`..data/${name}`, join(directory, name));
    const keys = open();
    expect((await keys.current()).accessKeyId).to.equal('ONE');
    await write(join(directory, '..2'), { accessKeyID: 'TWO', secretAccessKey: 'canary-two' });
    await symlink('..2', join(directory, '..new'));
    await rename(join(directory, '..new'), join(directory, '..data'));
    expect((await keys.current()).accessKeyId).to.equal('ONE');
    keys.refused();
    expect((await keys.current()).accessKeyId).to.equal('TWO');
    await writeFile(join(directory, '..2/accessKeyID'), 'THREE');
    now += 1000;
    expect((await keys.current()).accessKeyId).to.equal('THREE');
  });

  it('uses the previous keys while the files cannot be used', async () => {
    await write(directory, { accessKeyID: 'ONE', secretAccessKey: 'canary-one' });
    const keys = open();
    await keys.current();
    for (const damage of [() => rm(join(directory, 'secretAccessKey')), () => rm(join(directory, 'accessKeyID'))]) {
      await damage();
      now += 1000;
      expect((await keys.current()).accessKeyId).to.equal('ONE');
    }
  });

  it('reports a directory without keys, and finds the keys later', async () => {
    const keys = open(join(directory, 'later'));
    const error = await rejection(keys.current());
    expect(error).to.be.instanceOf(UpstreamDeniedError);
    expect(error.cause).to.have.property('message', `${join(directory, 'later')} has no keys of the bucket`);
    await write(join(directory, 'later'), { accessKeyID: 'ONE', secretAccessKey: 'canary-one' });
    now += 1000;
    expect((await keys.current()).accessKeyId).to.equal('ONE');
  });
});
