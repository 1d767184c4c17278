/** The contract of RequestInspection. */
import { expect } from 'chai';
import { UpstreamDeniedError, UpstreamTimeoutError } from '../../src/domain/errors.ts';
import type { RequestInspection } from '../../src/domain/ports/request-inspection.ts';
import { DEFAULT_REPOSITORY, type PackageRequest, type RepositoryPath } from '../../src/domain/reference.ts';
import { makePackage } from '../support/image.ts';

export interface RequestsUnderTest {
  readonly inspection: RequestInspection;
  /** Lets a request end, with an error or by a hit of 8 bytes. */
  end(request: PackageRequest | undefined, error?: unknown): void;
  /** Lets time pass. */
  pass(milliseconds: number): void;
}

export function describeRequestInspection(name: string, make: () => RequestsUnderTest): void {
  describe(`${name} is a RequestInspection that`, () => {
    const requestOf = (seed: number): PackageRequest => ({
      digest: makePackage(8, seed).digest,
      repository: DEFAULT_REPOSITORY,
      path: undefined,
    });
    let peer: RequestsUnderTest;
    beforeEach(() => {
      peer = make();
    });

    it('counts outcomes, and shows no failure for a successful request', () => {
      peer.end(requestOf(1));
      peer.end(requestOf(1));
      expect(peer.inspection.outcomes).to.deep.equal({ hit: 2, miss: 0, joined: 0, bypass: 0 });
      expect(peer.inspection.failures()).to.deep.equal([]);
    });

    it('groups requests with the same failure, the latest failure first', () => {
      const denied = new UpstreamDeniedError({ cause: new Error('status 401') });
      peer.end(requestOf(1), denied);
      peer.end(requestOf(2), new UpstreamTimeoutError());
      peer.end(requestOf(1), denied);
      const failures = peer.inspection.failures();
      expect(failures.map(({ code, count }) => [code, count])).to.deep.equal([
        ['UPSTREAM_DENIED', 2],
        ['UPSTREAM_TIMEOUT', 1],
      ]);
      expect(failures[0]).to.deep.include({ request: requestOf(1), cause: 'status 401' });
    });

    it('shows each minute of the last hour, and no earlier minute', () => {
      peer.end(requestOf(1));
      peer.pass(59 * 60_000);
      peer.end(requestOf(2));
      peer.end(requestOf(2), new UpstreamTimeoutError());
      const shown = (): number[][] =>
        peer.inspection.lastHour().map(({ hits, failures, bytes }) => [hits, failures, bytes]);
      expect(shown()).to.deep.equal([[1, 0, 8], ...Array<number[]>(58).fill([0, 0, 0]), [1, 1, 8]]);
      peer.pass(60_000);
      expect(shown()).to.deep.equal([...Array<number[]>(58).fill([0, 0, 0]), [1, 1, 8], [0, 0, 0]]);
      peer.pass(3_600_000);
      expect(
        shown()
          .flat()
          .every((count) => count === 0),
      ).to.equal(true);
      const times = peer.inspection.lastHour().map(({ at }) => at.getTime());
      expect(times.slice(1).every((at, index) => at - (times[index] ?? 0) === 60_000)).to.equal(true);
    });

    it('shows the source of a delivered package, and none for a failed one', () => {
      const placed = { ...requestOf(1), path: 'ingress' as RepositoryPath };
      peer.end(placed);
      peer.end(requestOf(2), new UpstreamTimeoutError());
      expect(peer.inspection.requestFor(placed.digest)).to.deep.equal(placed);
      expect(peer.inspection.requestFor(requestOf(2).digest)).to.equal(undefined);
    });

    it('shows the code of a bug without its message, and limits the number of failures', () => {
      for (let seed = 0; seed < 1000; seed++) peer.end(requestOf(seed), new Error('canary'));
      const failures = peer.inspection.failures();
      expect(failures.length).to.be.within(1, 200);
      expect(failures.map(({ detail }) => detail).join()).not.to.include('canary');
    });
  });
}
