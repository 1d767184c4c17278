import { expect } from 'chai';
import { generateKeyPairSync } from 'node:crypto';
import { parsePublicKey } from '../../../../src/adapters/signatures/public-key.ts';
import { makeKeyPair, signBytes } from '../../../support/signing.ts';

const BYTES = Buffer.from('what is signed');

describe('a public key', () => {
  for (const [kind, hash] of [
    ['P-256', 'sha256'],
    ['P-384', 'sha256'],
    ['P-384', 'sha384'],
    ['P-521', 'sha256'],
    ['P-521', 'sha512'],
    ['rsa', 'sha256'],
    ['ed25519', 'sha512'],
  ] as const) {
    it(`of ${kind} verifies its own signatures (${hash}), and no others`, () => {
      const keys = makeKeyPair(kind);
      const key = parsePublicKey(keys.pem);
      const signature = Buffer.from(signBytes(BYTES, keys, hash), 'base64');
      expect(key.fingerprint).to.equal(keys.fingerprint);
      expect(key.verifies(BYTES, signature)).to.equal(true);
      expect(key.verifies(Buffer.from('another'), signature)).to.equal(false);
      expect(key.verifies(BYTES, Buffer.from(signBytes(BYTES, makeKeyPair(kind), hash), 'base64'))).to.equal(false);
      expect(key.verifies(BYTES, Buffer.alloc(0))).to.equal(false);
    });
  }

  it('is refused when it is too weak or of another kind', () => {
    expect(() => parsePublicKey(generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey)).to.throw(
      'fewer than 2048',
    );
    expect(() => parsePublicKey(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey)).to.throw('P-256');
    expect(() => parsePublicKey(generateKeyPairSync('x25519').publicKey)).to.throw('not ECDSA');
    expect(() => parsePublicKey('no key')).to.throw();
  });
});
