/** Verifies signatures in the annotations of a manifest, as the delivery kit of Deckhouse writes them. */
import { createHash, X509Certificate } from 'node:crypto';
import { parseBoundedJson } from '../../domain/bounded-json.ts';
import { asObject } from '../../domain/descriptor.ts';
import type { SignatureVerdict } from '../../domain/ports/signature-verifier.ts';
import { hasEmbeddedScts, leadsToRoot } from './certificate-chain.ts';
import { parsePublicKey } from './public-key.ts';

/** The second prefix is the older one. */
const PREFIXES = ['io.deckhouse.delivery-kit.', 'io.deckhouse.deliverykit.'];
const ITEMS = ['signature', 'cert', 'chain'] as const;
const MAX_CHAIN = 16;
/** RFC 6838, section 4.2. A media type has no colon, so it cannot contain a digest. */
const MEDIA_TYPE = /^[\w.+-]+\/[\w.+-]+$/;
const DIGEST = /^sha\d+:[0-9a-f]+$/;

type Annotations = Readonly<Record<string, string>>;

export function verifyAnnotations(manifest: Uint8Array, roots: readonly X509Certificate[]): SignatureVerdict {
  try {
    const json = asObject(parseBoundedJson(manifest), 'manifest');
    const annotations = parseAnnotations(json['annotations']);
    const prefix = PREFIXES.find((each) => `${each}signature` in annotations);
    if (prefix === undefined) return { kind: 'missing', reason: 'manifest has no signature in its annotations' };
    const [signature = '', cert = '', chain = ''] = ITEMS.map((item) => annotations[`${prefix}${item}`]);
    const leaf = parseLeaf(cert);
    const key = parsePublicKey(leaf.publicKey);
    if (hasEmbeddedScts(leaf))
      throw new Error('its certificate depends on certificate transparency, which is not verified');
    if (!leadsToRoot(leaf, parseChain(chain), roots)) throw new Error('its certificate leads to no trusted root');
    if (!key.verifies(Buffer.from(signedText(json, annotations)), Buffer.from(signature, 'base64'))) {
      throw new Error('it does not match this manifest');
    }
    return { kind: 'valid', format: 'annotation', key: key.fingerprint };
  } catch (error) {
    const why = error instanceof Error ? error.message : 'unknown error';
    return { kind: 'invalid', reason: `signature in the annotations: ${why}` };
  }
}

function parseAnnotations(json: unknown): Annotations {
  const annotations = asObject(json ?? {}, 'annotations');
  if (Object.values(annotations).some((value) => typeof value !== 'string')) throw new Error('annotation is no text');
  return annotations as Annotations;
}

/** Parses base64 of PEM or of DER. */
function parseLeaf(cert: string): X509Certificate {
  if (cert === '') throw new Error('it has no certificate');
  try {
    return new X509Certificate(Buffer.from(cert, 'base64'));
  } catch (cause) {
    throw new Error('its certificate cannot be read', { cause });
  }
}

/** Parses base64 of PEM, which is empty if a root has issued the leaf. */
function parseChain(chain: string): X509Certificate[] {
  const pem = Buffer.from(chain, 'base64').toString('latin1');
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length > MAX_CHAIN) throw new Error(`its chain has more than ${String(MAX_CHAIN)} certificates`);
  try {
    return blocks.map((block) => new X509Certificate(block));
  } catch (cause) {
    throw new Error('its chain cannot be read', { cause });
  }
}

/**
 * Returns the hash of the fields that the signature covers, in one string without separators. Ambiguous fields are refused:
 * a layer ends after its size, so no annotation may look like another layer.
 */
function signedText(manifest: Record<string, unknown>, annotations: Annotations): string {
  const { schemaVersion, mediaType = '', config, layers } = manifest;
  if (!Array.isArray(layers)) throw new Error('the manifest has no list of layers');
  if (typeof mediaType !== 'string' || (mediaType !== '' && !MEDIA_TYPE.test(mediaType)))
    throw new Error('mediaType is none');
  const parts = [decimal(schemaVersion), mediaType, ...[config, ...(layers as unknown[])].flatMap(descriptorParts)];
  const unsigned = new Set(PREFIXES.flatMap((prefix) => ITEMS.map((item) => `${prefix}${item}`)));
  const names = Object.keys(annotations).filter((name) => !unsigned.has(name));
  if (names.some((name) => /^(\d|sha\d+:)/.test(name))) throw new Error('an annotation looks like a layer');
  // Go sorts by bytes.
  names.sort((one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other)));
  const text = [...parts, ...names.flatMap((name) => [name, annotations[name] ?? ''])].join('');
  return createHash('sha256').update(text).digest('hex');
}

function descriptorParts(json: unknown): string[] {
  const { digest, mediaType, size } = asObject(json, 'descriptor');
  if (typeof digest !== 'string' || !DIGEST.test(digest)) throw new Error('descriptor has no digest');
  if (typeof mediaType !== 'string' || !MEDIA_TYPE.test(mediaType)) throw new Error('descriptor has no media type');
  return [digest, mediaType, decimal(size)];
}

function decimal(json: unknown): string {
  if (typeof json !== 'number' || !Number.isSafeInteger(json)) throw new Error('number is not an integer');
  return String(json);
}
