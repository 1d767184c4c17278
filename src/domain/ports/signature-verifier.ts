/** The port to the signatures of images. */
import type { Digest } from '../descriptor.ts';
import type { Upstream } from '../upstream.ts';

/** A manifest or an index, and its bytes, which are those of its digest. */
export interface SignedDocument {
  readonly digest: Digest;
  readonly bytes: Uint8Array;
}

export type SignatureVerdict =
  | {
      readonly kind: 'valid';
      readonly format: 'annotation' | 'cosign';
      /** SHA-256 of the public key that verified it, in hex. */
      readonly key: string;
    }
  /** No signature, none that a trusted key verifies, or signatures that could not be read. */
  | { readonly kind: 'missing' | 'invalid' | 'unavailable'; readonly reason: string };

export interface SignatureVerifier {
  /** Names the trusted keys as they are now. A verdict holds for the keys that it was found with. */
  keys(): Promise<string>;
  /**
   * `unavailable` for whatever keeps a signature from being read, the end of `signal` too: never rejects, and takes no longer
   * than `signal`. `upstream` is called only when the document itself and earlier answers do not decide.
   */
  verify(document: SignedDocument, upstream: () => Promise<Upstream>, signal: AbortSignal): Promise<SignatureVerdict>;
}
