import { expect } from 'chai';
import {
  ObservedRegistryGateway,
  type UpstreamEvent,
} from '../../../../src/adapters/observers/observed-registry-gateway.ts';
import { UpstreamUnavailableError } from '../../../../src/domain/errors.ts';
import { bytesOf, makePackage } from '../../../support/image.ts';
import { stubGateway, UPSTREAM } from '../../../support/ports.ts';
import { rejection } from '../../../support/rejection.ts';
import { HeldSource } from '../../../support/source.ts';

const image = makePackage(100_000);
const { descriptor } = image.layer;

describe('ObservedRegistryGateway', () => {
  const inner = stubGateway(image);
  let events: UpstreamEvent[];
  let gateway: ObservedRegistryGateway;
  beforeEach(() => {
    events = [];
    gateway = new ObservedRegistryGateway(inner, [(event) => events.push(event)]);
  });

  async function drain(chunks: AsyncIterable<Uint8Array>): Promise<void> {
    for await (const chunk of chunks) expect(chunk.byteLength).to.be.greaterThan(0);
  }

  it('tells of each question once, and of all bytes of its answer', async () => {
    const { signal } = new AbortController();
    await gateway.fetchManifest(UPSTREAM, image.digest, signal);
    await drain(await gateway.fetchBlob(UPSTREAM, descriptor, 40_000, signal));
    const answered = events.filter(({ kind }) => kind === 'answered');
    expect(answered.map(({ question }) => question)).to.deep.equal([
      { operation: 'manifest', upstream: UPSTREAM, digest: image.digest, offset: 0 },
      { operation: 'blob', upstream: UPSTREAM, digest: descriptor.digest, offset: 40_000 },
    ]);
    const bytes = events.reduce((sum, event) => sum + (event.kind === 'received' ? event.bytes : 0), 0);
    expect(bytes).to.equal(60_000);
  });

  it('tells of an answer that breaks off, and whether its reader had left', async () => {
    for (const isAbandoned of [false, true]) {
      const leaving = new AbortController();
      const error = new UpstreamUnavailableError();
      const held = new HeldSource().give(bytesOf(5000)).fail(error);
      inner.fetchBlob.onCall(inner.fetchBlob.callCount).callsFake(() => held.source());
      const chunks = await gateway.fetchBlob(UPSTREAM, descriptor, 0, leaving.signal);
      if (isAbandoned) leaving.abort();
      await rejection(drain(chunks));
      expect(events.at(-1)).to.deep.include({ kind: 'broken', error, isAbandoned });
    }
  });
});
