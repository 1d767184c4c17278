/** The contract of UpstreamInspection, over a gateway whose registry misbehaves. */
import { expect } from 'chai';
import {
  type PackageError,
  PackageUnknownError,
  UpstreamDeniedError,
  UpstreamTimeoutError,
} from '../../src/domain/errors.ts';
import type { RegistryGateway, UpstreamInspection } from '../../src/domain/ports/registry-gateway.ts';
import { parseUpstream } from '../../src/domain/upstream.ts';
import { makePackage } from '../support/image.ts';
import { type StubbedGateway, stubGateway, UPSTREAM } from '../support/ports.ts';
import { rejection } from '../support/rejection.ts';

export interface InspectionUnderTest {
  readonly inspection: UpstreamInspection;
  /** The gateway whose answers the inspection shows. */
  readonly gateway: RegistryGateway;
}

export function describeUpstreamInspection(name: string, make: (gateway: StubbedGateway) => InspectionUnderTest): void {
  describe(`${name} is an UpstreamInspection that`, () => {
    const image = makePackage(1000);
    const never = new AbortController().signal;
    let stub: StubbedGateway;
    let peer: InspectionUnderTest;
    beforeEach(() => {
      stub = stubGateway(image);
      peer = make(stub);
    });
    const ask = (upstream = UPSTREAM, signal = never): Promise<Uint8Array> =>
      peer.gateway.fetchManifest(upstream, image.digest, signal);

    it('shows nothing before the first answer', () => {
      expect(peer.inspection.answers()).to.deep.equal([]);
    });

    for (const [what, error] of [
      ['denies entry', new UpstreamDeniedError({ cause: new Error('status 401') })],
      ['does not answer', new UpstreamTimeoutError({ cause: new Error('no answer within 10 s') })],
      ['has no such manifest', new PackageUnknownError('MANIFEST_UNKNOWN', { cause: new Error('status 404') })],
    ] as [string, PackageError][])
      it(`shows the failure of a registry that ${what}, and the answer that follows`, async () => {
        stub.fetchManifest.onFirstCall().rejects(error);
        await rejection(ask());
        const { code, message, cause } = error;
        const shown = peer.inspection.answers()[0];
        expect(shown).to.include({ operation: 'manifest', host: 'registry.example', digest: image.digest, code });
        expect([shown?.detail, shown?.cause]).to.deep.equal([message, (cause as Error).message]);
        await ask();
        expect(peer.inspection.answers().map((answer) => answer.code)).to.deep.equal(['OK']);
      });

    it('shows the latest answer first, and only answers of the requested registry object', async () => {
      const other = parseUpstream({ repo: 'other.example/deckhouse' });
      await ask();
      await ask(other);
      expect(peer.inspection.answers().map(({ host }) => host)).to.deep.equal(['other.example', 'registry.example']);
      expect(peer.inspection.answers(other.registry).map(({ host }) => host)).to.deep.equal(['other.example']);
      expect(peer.inspection.answers({ ...other.registry })).to.deep.equal([]);
    });

    it('shows no failure for a request whose caller has left', async () => {
      stub.fetchManifest.rejects(new UpstreamTimeoutError());
      await rejection(ask(UPSTREAM, AbortSignal.abort()));
      expect(peer.inspection.answers()).to.deep.equal([]);
    });
  });
}
