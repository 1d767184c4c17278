/** Which hosts sent the bytes of a digest: the error of bytes that are not those of their digest names them. */
import { BoundedMap } from '../../domain/bounded-map.ts';
import type { Descriptor, Digest } from '../../domain/descriptor.ts';
import { DigestMismatchError } from '../../domain/errors.ts';
import { type Asked, UpstreamFault } from './upstream-errors.ts';

/** About 300 KB; far more than are arriving at a time. */
const MAX_DIGESTS = 1000;
/** The bytes of a download that breaks off can come from several hosts. */
const MAX_SENDERS = 3;

export class Senders {
  readonly #senders = new BoundedMap<string, readonly Asked[]>(MAX_DIGESTS);

  /** Bytes of the digest come from there, from `offset` on. */
  sent(digest: Digest, asked: Asked, offset = 0): void {
    const before = offset === 0 ? [] : (this.#senders.get(digest) ?? []);
    const others = before.filter(
      ({ host, redirectedBy }) => host !== asked.host || redirectedBy !== asked.redirectedBy,
    );
    this.#senders.set(digest, [...others, asked].slice(-MAX_SENDERS));
  }

  /** Bytes of `digest` were wrong; without it the error knows which. Any other error stays as it is. */
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

  /** Observes arrivals in a store, before others do. */
  readonly observeArrival = ({ error, blob }: { readonly error?: unknown; readonly blob: Descriptor }): void => {
    this.name(error, blob.digest);
  };
}
