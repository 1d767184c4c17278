/** Public keys that may verify a signature, and how each kind of them does. */
import { createHash, createPublicKey, type KeyObject, verify } from 'node:crypto';

/** NIST SP 800-57, part 1, table 2: less than 112 bits of security. */
const MIN_RSA_BITS = 2048;
/** The hash of sigstore's signer for each curve; that of its older one is SHA-256 for all of them. */
const CURVE_HASHES: Readonly<Record<string, readonly string[]>> = {
  prime256v1: ['sha256'],
  secp384r1: ['sha256', 'sha384'],
  secp521r1: ['sha256', 'sha512'],
};

export interface PublicKey {
  /** SHA-256 of its SubjectPublicKeyInfo, in hex. */
  readonly fingerprint: string;
  /** Whether the key made this signature of these bytes: ECDSA in DER, RSA PKCS #1 v1.5, or Ed25519. */
  verifies(bytes: Uint8Array, signature: Uint8Array): boolean;
}

/** @throws Error for bytes that are no public key, or a key of a kind that is too weak or unknown. */
export function parsePublicKey(key: KeyObject | string): PublicKey {
  const object = typeof key === 'string' ? createPublicKey(key) : key;
  const hashes = hashesOf(object);
  const spki = object.export({ type: 'spki', format: 'der' });
  return {
    fingerprint: createHash('sha256').update(spki).digest('hex'),
    verifies: (bytes, signature) => hashes.some((hash) => verify(hash, bytes, object, signature)),
  };
}

function hashesOf({ asymmetricKeyType, asymmetricKeyDetails = {} }: KeyObject): readonly (string | null)[] {
  const { modulusLength = 0, namedCurve = '' } = asymmetricKeyDetails;
  if (asymmetricKeyType === 'ed25519') return [null];
  if (asymmetricKeyType === 'rsa') {
    if (modulusLength < MIN_RSA_BITS) throw new Error(`RSA key has fewer than ${String(MIN_RSA_BITS)} bits`);
    return ['sha256'];
  }
  if (asymmetricKeyType !== 'ec') throw new Error('key is not ECDSA, RSA or Ed25519');
  const hashes = CURVE_HASHES[namedCurve];
  if (hashes === undefined) throw new Error('EC key is not on P-256, P-384 or P-521');
  return hashes;
}
