import { expect } from 'chai';
import type { UpstreamAnswer } from '../../../../src/domain/ports/registry-gateway.ts';
import { ObservedRegistryGateway } from '../../../../src/adapters/observers/observed-ports.ts';
import { UpstreamHistory } from '../../../../src/adapters/observers/upstream-history.ts';
import { InvalidArgumentError, PackageUnknownError, UpstreamUnavailableError } from '../../../../src/domain/errors.ts';
import { parseRepositoryPath } from '../../../../src/domain/reference.ts';
import { below, parseUpstream } from '../../../../src/domain/upstream.ts';
import { bytesOf, makePackage } from '../../../support/image.ts';
import { type StubbedGateway, stubGateway, UPSTREAM } from '../../../support/ports.ts';
import { rejection } from '../../../support/rejection.ts';
import { HeldSource } from '../../../support/source.ts';

const image = makePackage(100_000);
const { descriptor } = image.layer;
const never = new AbortController().signal;

describe('UpstreamHistory', () => {
  let inner: StubbedGateway;
  let history: UpstreamHistory;
  let gateway: ObservedRegistryGateway;
  beforeEach(() => {
    inner = stubGateway(image);
    history = new UpstreamHistory();
    gateway = new ObservedRegistryGateway(inner, [history.observe]);
  });

  const shown = (): Partial<UpstreamAnswer>[] =>
    history.answers().map(({ operation, repository, digest, code }) => ({ operation, repository, digest, code }));

  async function drain(chunks: AsyncIterable<Uint8Array>): Promise<number> {
    let bytes = 0;
    for await (const chunk of chunks) bytes += chunk.byteLength;
    return bytes;
  }

  it('remembers the last answer to each request, the latest first', async () => {
    const path = parseRepositoryPath('modules/a');
    await gateway.fetchManifest(UPSTREAM, image.digest, never);
    await drain(await gateway.fetchBlob(UPSTREAM, descriptor, 0, never));
    const cause = new Error('manifest from registry.example: status 404 MANIFEST_UNKNOWN');
    inner.fetchManifest.rejects(new PackageUnknownError('MANIFEST_UNKNOWN', { cause }));
    await rejection(gateway.fetchManifest(below(UPSTREAM, path), image.digest, never));
    expect(shown()).to.deep.equal([
      { operation: 'manifest', repository: 'deckhouse/modules/a', digest: image.digest, code: 'MANIFEST_UNKNOWN' },
      { operation: 'blob', repository: 'deckhouse', digest: descriptor.digest, code: 'OK' },
      { operation: 'manifest', repository: 'deckhouse', digest: image.digest, code: 'OK' },
    ]);
    expect(history.answers()[0]).to.include({
      host: 'registry.example',
      detail: 'package not found',
      cause: cause.message,
    });
    await rejection(gateway.fetchManifest(UPSTREAM, image.digest, never));
    expect(shown().map(({ code }) => code)).to.deep.equal(['MANIFEST_UNKNOWN', 'MANIFEST_UNKNOWN', 'OK']);
  });

  it('remembers that a blob broke off', async () => {
    const held = new HeldSource().give(bytesOf(5000)).fail(new UpstreamUnavailableError());
    inner.fetchBlob.callsFake(() => held.source());
    const chunks = await gateway.fetchBlob(UPSTREAM, descriptor, 0, never);
    expect(shown().map(({ code }) => code)).to.deep.equal(['OK']);
    await rejection(drain(chunks));
    expect(shown().map(({ code }) => code)).to.deep.equal(['UPSTREAM_UNAVAILABLE']);
  });

  it('shows no text of an unknown error', async () => {
    inner.fetchManifest.rejects(new Error('canary', { cause: new Error('canary') }));
    await rejection(gateway.fetchManifest(UPSTREAM, image.digest, never));
    expect(history.answers()[0]).to.include({ code: 'INTERNAL', detail: 'internal error', cause: undefined });
  });

  it('distinguishes credentials for one registry without showing them', async () => {
    const { host } = UPSTREAM.registry;
    const dockerCfg = Buffer.from(JSON.stringify({ auths: { [host]: { auth: 'cm9ib3Q6Y2FuYXJ5' } } })).toString(
      'base64',
    );
    const mended = parseUpstream({ repo: `${host}/deckhouse`, dockerCfg });
    await gateway.fetchManifest(UPSTREAM, image.digest, never);
    expect(history.answers(UPSTREAM.registry)).to.deep.equal(history.answers());
    expect(history.answers(mended.registry)).to.deep.equal([]);
    await gateway.fetchManifest(mended, image.digest, never);
    expect(history.answers(mended.registry)).to.deep.equal(history.answers()).and.have.lengthOf(1);
    expect(history.answers(UPSTREAM.registry)).to.deep.equal([]);
    expect(history.answers()[0]).to.have.all.keys(
      ...['operation', 'host', 'repository', 'digest', 'at', 'code', 'detail', 'cause'],
    );
  });

  it('does not record a refusal by the service itself as an answer', async () => {
    await gateway.fetchManifest(UPSTREAM, image.digest, never);
    inner.fetchManifest.rejects(new InvalidArgumentError('NAME_INVALID', '"path" is needed'));
    await rejection(gateway.fetchManifest(UPSTREAM, image.digest, never));
    expect(shown().map(({ code }) => code)).to.deep.equal(['OK']);
  });

  it('ignores an answer to a client that has left', async () => {
    const leaving = new AbortController();
    const held = new HeldSource().give(bytesOf(5000)).fail(new UpstreamUnavailableError());
    inner.fetchBlob.callsFake(() => held.source());
    const chunks = await gateway.fetchBlob(UPSTREAM, descriptor, 0, leaving.signal);
    leaving.abort();
    await rejection(drain(chunks));
    inner.fetchManifest.rejects(new UpstreamUnavailableError());
    await rejection(gateway.fetchManifest(UPSTREAM, image.digest, leaving.signal));
    expect(shown().map(({ code }) => code)).to.deep.equal(['OK']);
  });

  it('drops the oldest of very many', async () => {
    for (let seed = 1; seed <= 600; seed++) {
      await rejection(gateway.fetchManifest(UPSTREAM, makePackage(8, seed).digest, never));
    }
    const answers = history.answers();
    expect(answers).to.have.lengthOf(512);
    expect(answers[0]?.digest).to.equal(makePackage(8, 600).digest);
  });
});
