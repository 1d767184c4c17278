/** Makes signatures of images as tools do: in annotations, and in both formats of cosign. */
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { type Digest, digestHex } from '../../src/domain/descriptor.ts';
import type { FakeRegistry } from './fake-registry.ts';
import { encode, makeBlob, type TestBlob, type TestImage } from './image.ts';

export interface KeyPair {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  /** PEM. */
  readonly pem: string;
  readonly fingerprint: string;
}

export function makeKeyPair(kind: 'P-256' | 'P-384' | 'P-521' | 'rsa' | 'ed25519' = 'P-256'): KeyPair {
  const { privateKey, publicKey } =
    kind === 'rsa'
      ? generateKeyPairSync('rsa', { modulusLength: 2048 })
      : kind === 'ed25519'
        ? generateKeyPairSync('ed25519')
        : generateKeyPairSync('ec', { namedCurve: kind });
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  const fingerprint = createHash('sha256').update(spki).digest('hex');
  return { privateKey, publicKey, pem: publicKey.export({ type: 'spki', format: 'pem' }).toString(), fingerprint };
}

export function signBytes(bytes: Uint8Array, { privateKey }: KeyPair, hash = 'sha256'): string {
  return sign(privateKey.asymmetricKeyType === 'ed25519' ? null : hash, bytes, privateKey).toString('base64');
}

export interface CertificateFields {
  readonly name: string;
  /** The issuer; absent for a self-signed certificate. */
  readonly issuer?: Certified;
  readonly isCa?: boolean;
  readonly pathLength?: number;
  readonly from?: Date;
  readonly to?: Date;
  readonly hasScts?: boolean;
}

export interface Certified {
  readonly name: string;
  readonly keys: KeyPair;
  /** PEM. */
  readonly pem: string;
}

const [SEQUENCE, SET, INTEGER, BIT_STRING, OCTET_STRING, OBJECT_IDENTIFIER] = [0x30, 0x31, 0x02, 0x03, 0x04, 0x06];
const TRUE = Buffer.from([0x01, 0x01, 0xff]);
const ECDSA_WITH_SHA256 = der(SEQUENCE, oid('2a8648ce3d040302'));

/** A certificate of X.509 (RFC 5280) for a new key on P-256. */
export function certify({
  name,
  issuer,
  isCa = false,
  pathLength,
  from = new Date(Date.UTC(2020, 0)),
  to = new Date(Date.UTC(2049, 0)),
  hasScts = false,
}: CertificateFields): Certified {
  const keys = makeKeyPair();
  const constraints = [TRUE, ...(pathLength === undefined ? [] : [der(INTEGER, Buffer.from([pathLength]))])];
  const extensions = [
    der(SEQUENCE, oid('551d13'), TRUE, der(OCTET_STRING, der(SEQUENCE, ...(isCa ? constraints : [])))),
    ...(hasScts ? [der(SEQUENCE, oid('2b06010401d679020402'), der(OCTET_STRING, Buffer.from([0])))] : []),
  ];
  const signed = der(
    SEQUENCE,
    der(0xa0, der(INTEGER, Buffer.from([2]))),
    der(INTEGER, Buffer.concat([Buffer.from([0x40]), randomBytes(8)])),
    ECDSA_WITH_SHA256,
    nameOf(issuer?.name ?? name),
    der(SEQUENCE, timeOf(from), timeOf(to)),
    nameOf(name),
    keys.publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, der(SEQUENCE, ...extensions)),
  );
  const signature = sign('sha256', signed, (issuer?.keys ?? keys).privateKey);
  const whole = der(SEQUENCE, signed, ECDSA_WITH_SHA256, der(BIT_STRING, Buffer.from([0]), signature));
  const lines = whole.toString('base64').replaceAll(/.{64}(?=.)/g, '$&\n');
  return { name, keys, pem: `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n` };
}

function oid(hex: string): Buffer {
  return der(OBJECT_IDENTIFIER, Buffer.from(hex, 'hex'));
}

function nameOf(commonName: string): Buffer {
  return der(SEQUENCE, der(SET, der(SEQUENCE, oid('550403'), der(0x0c, Buffer.from(commonName)))));
}

function timeOf(time: Date): Buffer {
  return der(0x18, Buffer.from(time.toISOString().replaceAll(/[-:T]|\.\d+/g, '')));
}

function der(tag: number, ...contents: readonly Buffer[]): Buffer {
  const content = Buffer.concat(contents);
  const { length } = content;
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...size]), content]);
}

/** The fields of a manifest that a signature in its annotations covers, and additional fields. */
export interface ManifestFields {
  schemaVersion: number;
  mediaType?: string;
  config: { digest: string; mediaType: string; size: number };
  layers: { digest: string; mediaType: string; size: number }[];
  annotations?: Record<string, string>;
}

/** The text that a signature in annotations signs, by its specification. */
export function annotatedText({
  schemaVersion,
  mediaType = '',
  config,
  layers,
  annotations = {},
}: ManifestFields): string {
  const descriptors = [config, ...layers].flatMap(({ digest, mediaType: type, size }) => [digest, type, String(size)]);
  const rest = Object.keys(annotations)
    .filter((name) => !/^io\.deckhouse\.delivery-?kit\./.test(name))
    .sort()
    .flatMap((name) => [name, annotations[name] ?? '']);
  return createHash('sha256')
    .update([String(schemaVersion), mediaType, ...descriptors, ...rest].join(''))
    .digest('hex');
}

export interface AnnotationSigner {
  readonly leaf: Certified;
  readonly chain?: readonly Certified[];
  readonly prefix?: string;
}

/** The same image with a signature in its annotations; `change` then edits the manifest. */
export function annotateSignature(
  image: TestImage,
  { leaf, chain = [], prefix = 'io.deckhouse.delivery-kit.' }: AnnotationSigner,
  annotations: Record<string, string> = {},
  change: (manifest: ManifestFields) => void = () => undefined,
): TestImage {
  const base64 = (text: string): string => Buffer.from(text).toString('base64');
  const manifest = { ...(JSON.parse(Buffer.from(image.manifest.bytes).toString()) as ManifestFields), annotations };
  const signature = signBytes(Buffer.from(annotatedText(manifest)), leaf.keys);
  const signed = {
    ...manifest,
    annotations: {
      ...annotations,
      [`${prefix}signature`]: signature,
      [`${prefix}cert`]: base64(leaf.pem),
      [`${prefix}chain`]: base64(chain.map(({ pem }) => pem).join('')),
    },
  };
  change(signed);
  const blob = makeBlob(image.manifest.descriptor.mediaType, encode(signed));
  return { ...image, digest: blob.descriptor.digest, manifest: blob };
}

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const EMPTY = makeBlob('application/vnd.oci.empty.v1+json', Buffer.from('{}'));
export const BUNDLE_TYPE = 'application/vnd.dev.sigstore.bundle.v0.3+json';

/** A manifest of cosign, which a registry has under a tag or in the referrers of an image. */
export interface SignatureArtifact {
  readonly manifest: TestBlob;
  readonly blobs: readonly TestBlob[];
}

export interface Claimed {
  readonly payload: Uint8Array;
  /** Base64. */
  readonly signature: string;
}

export function simpleClaim(image: Digest, keys: KeyPair): Claimed {
  const payload = encode({
    critical: {
      identity: { 'docker-reference': 'registry.example/deckhouse/ee' },
      image: { 'docker-manifest-digest': image },
      type: 'cosign container image signature',
    },
    optional: null,
  });
  return { payload, signature: signBytes(payload, keys) };
}

export function simpleSigning(claims: readonly Claimed[]): SignatureArtifact {
  const payloads = claims.map(({ payload }) => makeBlob('application/vnd.dev.cosign.simplesigning.v1+json', payload));
  const layers = payloads.map(({ descriptor }, index) => ({
    ...descriptor,
    annotations: { 'dev.cosignproject.cosign/signature': claims[index]?.signature },
  }));
  const manifest = encode({ schemaVersion: 2, mediaType: MANIFEST, config: EMPTY.descriptor, layers });
  return { manifest: makeBlob(MANIFEST, manifest), blobs: [EMPTY, ...payloads] };
}

export const SIGN_PREDICATE = 'https://sigstore.dev/cosign/sign/v1';

export function bundleOf(image: Digest, keys: KeyPair, predicateType = SIGN_PREDICATE, hash = 'sha256'): Uint8Array {
  const payloadType = 'application/vnd.in-toto+json';
  const statement = encode({
    _type: 'https://in-toto.io/Statement/v1',
    subject: [{ digest: { sha256: digestHex(image) } }],
    predicateType,
    predicate: {},
  });
  const head = `DSSEv1 ${String(payloadType.length)} ${payloadType} ${String(statement.byteLength)} `;
  return encode({
    mediaType: BUNDLE_TYPE,
    verificationMaterial: { publicKey: { hint: 'none' } },
    dsseEnvelope: {
      payload: Buffer.from(statement).toString('base64'),
      payloadType,
      signatures: [{ sig: signBytes(Buffer.concat([Buffer.from(head), statement]), keys, hash) }],
    },
  });
}

/** `predicateType` is the value in the annotations, which some registries drop. */
export function bundleArtifact(bundle: Uint8Array, predicateType?: string): SignatureArtifact {
  const blob = makeBlob(BUNDLE_TYPE, bundle);
  const manifest = encode({
    schemaVersion: 2,
    mediaType: MANIFEST,
    artifactType: BUNDLE_TYPE,
    config: EMPTY.descriptor,
    layers: [blob.descriptor],
    ...(predicateType !== undefined && { annotations: { 'dev.sigstore.bundle.predicateType': predicateType } }),
  });
  return { manifest: makeBlob(MANIFEST, manifest), blobs: [EMPTY, blob] };
}

/** The signatures in a fake registry: tags, lists of referrers, and the blobs behind them. */
export class SignatureShelf {
  readonly #registry: FakeRegistry;
  readonly #answers = new Map<string, { readonly type: string; readonly bytes: Uint8Array }>();

  constructor(registry: FakeRegistry) {
    this.#registry = registry;
    registry.script(({ url, headers }, response) => {
      if (registry.wantsAuthorization && headers.authorization === undefined) return false;
      const answer = this.#answers.get(/\/((?:manifests|referrers)\/[^/?]+)/.exec(url)?.[1] ?? '');
      if (answer === undefined) return false;
      response.writeHead(200, { 'content-type': answer.type }).end(answer.bytes);
      return true;
    });
  }

  /** Under cosign's own tag. */
  tag(image: Digest, artifact: SignatureArtifact): void {
    this.#add(artifact);
    this.#answers.set(`manifests/sha256-${digestHex(image)}.sig`, { type: MANIFEST, bytes: artifact.manifest.bytes });
  }

  /** Adds a referrer of an image: to the list of the registry, or to the referrers tag. */
  refer(
    image: Digest,
    artifacts: readonly SignatureArtifact[],
    where: 'api' | 'tag' = 'api',
    type = BUNDLE_TYPE,
  ): void {
    artifacts.forEach((artifact) => {
      this.#add(artifact);
    });
    const mediaType = 'application/vnd.oci.image.index.v1+json';
    const manifests = artifacts.map(({ manifest }) => {
      const { annotations } = JSON.parse(Buffer.from(manifest.bytes).toString()) as { annotations?: object };
      return { ...manifest.descriptor, artifactType: type, annotations };
    });
    const path = where === 'api' ? `referrers/${image}` : `manifests/sha256-${digestHex(image)}`;
    this.#answers.set(path, { type: mediaType, bytes: encode({ schemaVersion: 2, mediaType, manifests }) });
  }

  remove(): void {
    this.#answers.clear();
  }

  #add({ manifest, blobs }: SignatureArtifact): void {
    this.#registry.publish({ digest: manifest.descriptor.digest, manifest, blobs, layer: blobs[0] ?? manifest });
  }
}
