/** X.509 certificates for P-256 keys (RFC 5280): the parts that loopback keys need; node:crypto only parses them. */
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';

/** The certificate and the key in PEM. */
export interface CertifiedKey {
  readonly certificate: string;
  readonly key: string;
}

interface Purpose {
  readonly usage: 'server' | 'client';
  /** An IPv4 address; clients compare it with the address of the connection. */
  readonly address?: string;
}

const SEQUENCE = 0x30;
const SET = 0x31;
const INTEGER = 0x02;
const BIT_STRING = 0x03;
const OCTET_STRING = 0x04;
const OBJECT_IDENTIFIER = 0x06;
const UTF8_STRING = 0x0c;
const TRUE = Buffer.from([0x01, 0x01, 0xff]);

const oid = (hex: string): Buffer => der(OBJECT_IDENTIFIER, Buffer.from(hex, 'hex'));
const COMMON_NAME = oid('550403');
const SUBJECT_KEY_ID = oid('551d0e');
const KEY_USAGE = oid('551d0f');
const SUBJECT_ALT_NAME = oid('551d11');
const BASIC_CONSTRAINTS = oid('551d13');
const AUTHORITY_KEY_ID = oid('551d23');
const EXTENDED_KEY_USAGE = oid('551d25');
const EXTENDED_USAGES = { server: oid('2b06010505070301'), client: oid('2b06010505070302') };
const ECDSA_WITH_SHA256 = der(SEQUENCE, oid('2a8648ce3d040302'));

/**
 * Without an end (RFC 5280 section 4.1.2.5) and valid with a clock that is years off, because the keys last as long as their
 * pod.
 */
const VALIDITY = der(SEQUENCE, der(0x17, Buffer.from('700101000000Z')), der(0x18, Buffer.from('99991231235959Z')));

/** A CA whose key stays in this object. */
export class CertificateAuthority {
  readonly #name: Buffer;
  readonly #key: KeyObject;
  readonly #keyId: Buffer;
  readonly certificate: string;

  constructor(name: string) {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    this.#name = nameOf(name);
    this.#key = privateKey;
    this.#keyId = createHash('sha256').update(spkiOf(publicKey)).digest().subarray(0, 20);
    this.certificate = this.#sign(this.#name, publicKey, [
      extension(BASIC_CONSTRAINTS, der(SEQUENCE, TRUE, der(INTEGER, Buffer.from([0]))), TRUE),
      // The key usage is keyCertSign.
      extension(KEY_USAGE, der(BIT_STRING, Buffer.from([2, 0x04])), TRUE),
      extension(SUBJECT_KEY_ID, der(OCTET_STRING, this.#keyId)),
    ]);
  }

  issue(name: string, { usage, address }: Purpose): CertifiedKey {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const certificate = this.#sign(nameOf(name), publicKey, [
      extension(BASIC_CONSTRAINTS, der(SEQUENCE), TRUE),
      // The key usage is digitalSignature.
      extension(KEY_USAGE, der(BIT_STRING, Buffer.from([7, 0x80])), TRUE),
      extension(EXTENDED_KEY_USAGE, der(SEQUENCE, EXTENDED_USAGES[usage])),
      extension(AUTHORITY_KEY_ID, der(SEQUENCE, der(0x80, this.#keyId))),
      ...(address === undefined ? [] : [extension(SUBJECT_ALT_NAME, der(SEQUENCE, der(0x87, bytesOf(address))))]),
    ]);
    return { certificate, key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() };
  }

  #sign(subject: Buffer, publicKey: KeyObject, extensions: readonly Buffer[]): string {
    const serial = randomBytes(16);
    // The number is positive and has no leading zeros.
    serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40;
    const toBeSigned = der(
      SEQUENCE,
      // The version is 3.
      der(0xa0, der(INTEGER, Buffer.from([2]))),
      der(INTEGER, serial),
      ECDSA_WITH_SHA256,
      this.#name,
      VALIDITY,
      subject,
      spkiOf(publicKey),
      der(0xa3, der(SEQUENCE, ...extensions)),
    );
    const signature = der(BIT_STRING, Buffer.from([0]), sign('sha256', toBeSigned, this.#key));
    const base64 = der(SEQUENCE, toBeSigned, ECDSA_WITH_SHA256, signature).toString('base64');
    return `-----BEGIN CERTIFICATE-----\n${base64.replaceAll(/.{64}(?=.)/g, '$&\n')}\n-----END CERTIFICATE-----\n`;
  }
}

function nameOf(commonName: string): Buffer {
  return der(SEQUENCE, der(SET, der(SEQUENCE, COMMON_NAME, der(UTF8_STRING, Buffer.from(commonName)))));
}

function extension(id: Buffer, value: Buffer, critical = Buffer.alloc(0)): Buffer {
  return der(SEQUENCE, id, critical, der(OCTET_STRING, value));
}

function spkiOf(key: KeyObject): Buffer {
  return key.export({ type: 'spki', format: 'der' });
}

function bytesOf(address: string): Buffer {
  return Buffer.from(address.split('.').map(Number));
}

/** X.690 section 8.1.3: lengths below 128 take one byte; before longer ones stands the number of their bytes. */
function der(tag: number, ...contents: readonly Buffer[]): Buffer {
  const content = Buffer.concat(contents);
  const { length } = content;
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...size]), content]);
}
