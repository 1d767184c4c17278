/** Records which hosts sent the bytes of a digest, so that the error about wrong bytes names them. */
import { BoundedMap } from '../../domain/bounded-map.ts';
import type { Descriptor, Digest } from '../../domain/descriptor.ts';
import { DigestMismatchError } from '../../domain/errors.ts';
import { type Asked, UpstreamFault } from './upstream-errors.ts';

/** About 300 KB; far more digests than arrive at a time. */
const MAX_DIGESTS = 1000;
/** A resumed download can have several senders. */
const MAX_SENDERS = 3;

export class Senders {
  readonly #senders = new BoundedMap<string, readonly Asked[]>(MAX_DIGESTS);

  /** Records that this host sends the bytes of the digest from `offset` on. */
  sent(digest: Digest, asked: Asked, offset = 0): void {
    const before = offset === 0 ? [] : (this.#senders.get(digest) ?? []);
    const others = before.filter(
      ({ host, redirectedBy }) => host !== asked.host || redirectedBy !== asked.redirectedBy,
    );
    this.#senders.set(digest, [...others, asked].slice(-MAX_SENDERS));
  }

  /** Adds the senders to an error about wrong bytes of `digest`, or of the digest in the error. Other errors are not changed. */
  readonly name = (error: unknown, digest?: Digest): void => {
    if (!(error instanceof DigestMismatchError) || error.cause !== undefined) return;
    const [last, ...earlier] = (this.#senders.get(digest ?? error.expected) ?? []).toReversed();
    if (last === undefined) return;
    const hosts = earlier.map(({ host }) => host).join(' and ');
    error.cause = new UpstreamFault(
      last,
      `${error.found}, not ${error.expected}${hosts === '' ? '' : `; bytes before them came from ${hosts}`}`,
    );
  };

  /** An observer of arrivals in a store, which must run before the other observers. */
  readonly observeArrival = ({ error, blob }: { readonly error?: unknown; readonly blob: Descriptor }): void => {
    this.name(error, blob.digest);
  };
}
