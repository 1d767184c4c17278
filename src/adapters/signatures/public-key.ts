/** Public keys, and how each kind verifies a signature. */
import { createHash, createPublicKey, type KeyObject, verify } from 'node:crypto';

/** NIST SP 800-57, part 1, table 2: less than 112 bits of security. */
const MIN_RSA_BITS = 2048;
/** The hashes for each curve: sigstore's signer uses one for each curve, and its older one SHA-256 for all. */
const CURVE_HASHES: Readonly<Record<string, readonly string[]>> = {
  prime256v1: ['sha256'],
  secp384r1: ['sha256', 'sha384'],
  secp521r1: ['sha256', 'sha512'],
};

export interface PublicKey {
  /** SHA-256 of the SubjectPublicKeyInfo, in hex. */
  readonly fingerprint: string;
  /** Returns whether the key made this signature of these bytes: ECDSA in DER, RSA PKCS #1 v1.5, or Ed25519. */
  verifies(bytes: Uint8Array, signature: Uint8Array): boolean;
}

/** @throws Error for bytes that are not a public key, or for a key of a weak or unknown kind */
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
