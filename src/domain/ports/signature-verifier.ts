/** The port to the signatures of images. */
import type { Digest } from '../descriptor.ts';
import type { Upstream } from '../upstream.ts';

/** A manifest or an index, with bytes that match its digest. */
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
  /** There is no signature, none of a trusted key, or the signatures could not be read. */
  | { readonly kind: 'missing' | 'invalid' | 'unavailable'; readonly reason: string };

export interface SignatureVerifier {
  /** Resolves with an identifier of the present trusted keys. A verdict is valid only for the same identifier. */
  keys(): Promise<string>;
  /**
   * Resolves with `unavailable` if a signature cannot be read, also when `signal` ends. Never rejects, and takes no longer
   * than `signal`. Calls `upstream` only if the document and earlier answers do not decide.
   */
  verify(document: SignedDocument, upstream: () => Promise<Upstream>, signal: AbortSignal): Promise<SignatureVerdict>;
}
