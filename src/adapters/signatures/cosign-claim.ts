/** A claim of cosign about an image, and its verification without a transparency log. */
import { parseBoundedJson } from '../../domain/bounded-json.ts';
import { asObject, type Digest, digestHex } from '../../domain/descriptor.ts';
import type { PublicKey } from './public-key.ts';

/** Far larger than any claim; the longest ones have a certificate and its chain. */
export const MAX_CLAIM_BYTES = 256 * 1024;
/** The statement of cosign that an image is signed. */
export const SIGN_PREDICATE = 'https://sigstore.dev/cosign/sign/v1';
/** The specification of bundles permits one signature in an envelope. Each signature is tried with each key. */
const MAX_SIGNATURES = 4;

/** `payload` is the signed text of cosign's first format, or a sigstore bundle with text and signature. */
export type CosignClaim =
  | { readonly kind: 'simple-signing'; readonly payload: Uint8Array; readonly signature: string }
  | { readonly kind: 'bundle'; readonly bundle: Uint8Array };

/** Returns the key that verifies the claim about this image. @throws Error with the reason if none does */
export function verifyClaim(claim: CosignClaim, image: Digest, keys: readonly PublicKey[]): PublicKey {
  return claim.kind === 'bundle'
    ? verifyBundle(claim.bundle, image, keys)
    : verifySimpleSigning(claim.payload, claim.signature, image, keys);
}

/** Red Hat's "simple signing" (containers/image, docs/atomic-signature.md). */
function verifySimpleSigning(
  payload: Uint8Array,
  signature: string,
  image: Digest,
  keys: readonly PublicKey[],
): PublicKey {
  const key = verifyingKey(keys, payload, [signature]);
  const critical = field(parseBoundedJson(payload), 'critical');
  if (critical['type'] !== 'cosign container image signature') throw new Error('it is not a signature of an image');
  if (field(critical, 'image')['docker-manifest-digest'] !== image)
    throw new Error('it is the signature of another image');
  return key;
}

/** A DSSE envelope around an in-toto statement (secure-systems-lab/dsse, protocol.md). */
function verifyBundle(bundle: Uint8Array, image: Digest, keys: readonly PublicKey[]): PublicKey {
  const { payload, payloadType, signatures } = field(parseBoundedJson(bundle), 'dsseEnvelope');
  if (typeof payload !== 'string' || payloadType !== 'application/vnd.in-toto+json' || !Array.isArray(signatures)) {
    throw new Error('its envelope has no statement');
  }
  const body = Buffer.from(payload, 'base64');
  const key = verifyingKey(
    keys,
    Buffer.concat([Buffer.from(`DSSEv1 ${String(payloadType.length)} ${payloadType} ${String(body.length)} `), body]),
    signatures.map((each: unknown) => asObject(each, 'signature')['sig']),
  );
  const { predicateType, subject } = asObject(parseBoundedJson(body), 'statement');
  // The same key signs other statements about an image, such as its vulnerabilities.
  if (predicateType !== SIGN_PREDICATE) throw new Error('it is not a signature of an image');
  const isSubject = (each: unknown): boolean => field(each, 'digest')['sha256'] === digestHex(image);
  if (!Array.isArray(subject) || !subject.some(isSubject)) throw new Error('it is the signature of another image');
  return key;
}

function verifyingKey(keys: readonly PublicKey[], bytes: Uint8Array, signatures: readonly unknown[]): PublicKey {
  for (const signature of signatures.slice(0, MAX_SIGNATURES)) {
    if (typeof signature !== 'string') continue;
    const key = keys.find((each) => each.verifies(bytes, Buffer.from(signature, 'base64')));
    if (key !== undefined) return key;
  }
  throw new Error('no trusted key verifies it');
}

function field(json: unknown, name: string): Record<string, unknown> {
  return asObject(asObject(json, 'claim')[name], name);
}
