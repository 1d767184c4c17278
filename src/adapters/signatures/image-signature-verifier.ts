/** SignatureVerifier for signatures in annotations and for those of cosign, with keys and roots from files. */
import type { Digest } from '../../domain/descriptor.ts';
import type { SignatureVerdict, SignatureVerifier, SignedDocument } from '../../domain/ports/signature-verifier.ts';
import type { Upstream } from '../../domain/upstream.ts';
import { verifyAnnotations } from './annotation-signature.ts';
import type { ClaimFolder } from './claim-folder.ts';
import { type ArtifactPorts, ClaimTooLargeError, findClaims, MAX_CLAIMS } from './cosign-artifacts.ts';
import { type CosignClaim, verifyClaim } from './cosign-claim.ts';
import type { PublicKey } from './public-key.ts';
import type { TrustedKeys } from './trusted-keys.ts';

interface ImageSignatureVerifierOptions extends ArtifactPorts {
  readonly trusted: TrustedKeys;
  /** Undefined if nothing is stored on a disk. */
  readonly claims: ClaimFolder | undefined;
  /** Called with each failure, before its reasons are read. */
  readonly onFailure?: (error: unknown) => void;
}

export class ImageSignatureVerifier implements SignatureVerifier {
  readonly #options: ImageSignatureVerifierOptions;

  constructor(options: ImageSignatureVerifierOptions) {
    this.#options = options;
  }

  async keys(): Promise<string> {
    return (await this.#options.trusted.current()).id;
  }

  async verify(
    { digest, bytes }: SignedDocument,
    upstream: () => Promise<Upstream>,
    signal: AbortSignal,
  ): Promise<SignatureVerdict> {
    const { keys, roots } = await this.#options.trusted.current();
    const annotated: SignatureVerdict =
      roots.length > 0 ? verifyAnnotations(bytes, roots) : { kind: 'missing', reason: 'there is no signature' };
    if (annotated.kind === 'valid' || keys.length === 0) return annotated;
    const signed = (await this.#kept(digest, keys)) ?? (await this.#fetched(digest, keys, upstream, signal));
    return signed.kind === 'missing' && annotated.kind === 'invalid' ? annotated : signed;
  }

  /** A stored claim is verified again, because the trusted keys may have changed. */
  async #kept(image: Digest, keys: readonly PublicKey[]): Promise<SignatureVerdict | undefined> {
    const claim = await this.#options.claims?.read(image);
    const key = claim && keyOf(claim, image, keys);
    return key === undefined || typeof key === 'string' ? undefined : valid(key);
  }

  async #fetched(
    image: Digest,
    keys: readonly PublicKey[],
    upstream: () => Promise<Upstream>,
    signal: AbortSignal,
  ): Promise<SignatureVerdict> {
    let worst: SignatureVerdict = { kind: 'missing', reason: 'there is no signature of cosign' };
    let claims = 0;
    try {
      for await (const read of findClaims(this.#options, await upstream(), image, signal)) {
        if (++claims > MAX_CLAIMS) {
          return { kind: 'invalid', reason: `no trusted key made one of the first ${String(MAX_CLAIMS)} signatures` };
        }
        const found = await this.#verifyOne(read, image, keys);
        if (found.kind === 'valid') return found;
        if (worst.kind !== 'unavailable') worst = found;
      }
    } catch (error) {
      return this.#unavailable(error);
    }
    return worst;
  }

  async #verifyOne(
    read: () => Promise<CosignClaim>,
    image: Digest,
    keys: readonly PublicKey[],
  ): Promise<SignatureVerdict> {
    let claim: CosignClaim;
    try {
      claim = await read();
    } catch (error) {
      return error instanceof ClaimTooLargeError ? invalid(error.message) : this.#unavailable(error);
    }
    const key = keyOf(claim, image, keys);
    if (typeof key === 'string') return invalid(key);
    await this.#options.claims?.write(image, claim);
    return valid(key);
  }

  #unavailable(error: unknown): SignatureVerdict {
    this.#options.onFailure?.(error);
    const reasons: string[] = [];
    for (let link = error; link instanceof Error && reasons.length < 5; link = link.cause) reasons.push(link.message);
    return { kind: 'unavailable', reason: `signature of cosign: ${reasons.join(': ')}` };
  }
}

/** Returns the key that verifies a claim, or the reason if none does. */
function keyOf(claim: CosignClaim, image: Digest, keys: readonly PublicKey[]): PublicKey | string {
  try {
    return verifyClaim(claim, image, keys);
  } catch (error) {
    return error instanceof Error ? error.message : 'unknown error';
  }
}

function valid({ fingerprint }: PublicKey): SignatureVerdict {
  return { kind: 'valid', format: 'cosign', key: fingerprint };
}

function invalid(why: string): SignatureVerdict {
  return { kind: 'invalid', reason: `signature of cosign: ${why}` };
}
