import { expect } from 'chai';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { digestHex } from '../../../../src/domain/digest.ts';
import { BlobProver, listBlobs } from '../../../../src/infrastructure/commands/blob-directory.ts';
import { CommandFailure } from '../../../../src/adapters/cli/failures.ts';
import { bytesOf, makeBlob } from '../../../support/image.ts';
import { rejection } from '../../../support/rejection.ts';

describe('BlobProver', () => {
  const { descriptor, bytes } = makeBlob('', bytesOf(2_500_000));
  let directory: string;
  let path: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'blobs-'));
    path = join(directory, digestHex(descriptor.digest));
    await writeFile(path, bytes);
  });
  afterEach(() => rm(directory, { recursive: true }));

  it('says how far it has come', async () => {
    const steps: number[] = [];
    const prover = new BlobProver(new AbortController().signal, (length) => steps.push(length));
    const [blob] = (await listBlobs(directory)).blobs;
    if (blob === undefined) throw new Error('not listed');
    expect(await prover.prove(blob)).to.deep.equal({ kind: 'sound' });
    expect(steps).to.deep.equal([1_048_576, 1_048_576, 402_848]);
  });

  it('takes a blob that has left since it was listed for gone, and proves one that has come in its place', async () => {
    const [blob] = (await listBlobs(directory)).blobs;
    if (blob === undefined) throw new Error('not listed');
    const prover = new BlobProver(new AbortController().signal, () => undefined);
    await rm(path);
    expect(await prover.prove(blob)).to.deep.equal({ kind: 'gone' });
    await writeFile(path, bytes);
    expect(await prover.prove({ ...blob, size: 1 })).to.deep.equal({ kind: 'sound' });
  });

  it('stops in the middle of a blob', async () => {
    const interruption = new AbortController();
    const [blob] = (await listBlobs(directory)).blobs;
    if (blob === undefined) throw new Error('not listed');
    const prover = new BlobProver(interruption.signal, () => {
      interruption.abort();
    });
    expect(await rejection(prover.prove(blob))).to.equal(interruption.signal.reason);
  });
});

describe('listBlobs', () => {
  it('says that a directory cannot be read', async () => {
    const error = await rejection(listBlobs(import.meta.filename));
    expect(error).to.be.instanceOf(CommandFailure).with.property('message').that.includes('ENOTDIR');
  });
});
