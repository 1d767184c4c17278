/** Verifies that a root has issued a certificate, directly or through others (RFC 5280 section 6, without unused parts). */
import type { X509Certificate } from 'node:crypto';

const SEQUENCE = 0x30;
const BOOLEAN = 0x01;
const INTEGER = 0x02;
const OBJECT_IDENTIFIER = 0x06;
const EXTENSIONS = 0xa3;
/** RFC 5280, section 4.2.1.9. */
const BASIC_CONSTRAINTS = '551d13';
/** RFC 6962, section 3.3. */
const EMBEDDED_SCTS = '2b06010401d679020402';
/** The largest number of certificates from a root to the leaf. */
const MAX_DEPTH = 8;

interface Element {
  readonly tag: number;
  readonly content: Buffer;
}

/** Certificate transparency is not verified, so a certificate that depends on it is refused. */
export function hasEmbeddedScts(certificate: X509Certificate): boolean {
  return extensionOf(certificate, EMBEDDED_SCTS) !== undefined;
}

/**
 * Returns whether a chain leads from `leaf` to one of `roots`. All its certificates must be valid when the validity of the
 * leaf begins, because a signature outlives its certificate, and no trusted clock has its time.
 */
export function leadsToRoot(
  leaf: X509Certificate,
  between: readonly X509Certificate[],
  roots: readonly X509Certificate[],
): boolean {
  const at = leaf.validFromDate;
  const isUsable = ({ ca, validFromDate, validToDate }: X509Certificate): boolean =>
    ca && validFromDate <= at && at <= validToDate;
  const seen = new Set<X509Certificate>();
  let level: readonly X509Certificate[] = [leaf];
  for (let depth = 0; depth < MAX_DEPTH && level.length > 0; depth++) {
    const issues = (issuer: X509Certificate): boolean =>
      isUsable(issuer) && depth <= pathLengthOf(issuer) && level.some((each) => isIssued(each, issuer));
    // Roots are compared by their bytes, because a chain may include its root.
    if (level.some((each) => each !== leaf && roots.some((root) => root.raw.equals(each.raw)))) return true;
    if (roots.some(issues)) return true;
    level = between.filter((issuer) => !seen.has(issuer) && issues(issuer));
    for (const each of level) seen.add(each);
  }
  return false;
}

function isIssued(certificate: X509Certificate, issuer: X509Certificate): boolean {
  return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
}

/** Returns the permitted number of certificates between the issuer and the leaf. */
function pathLengthOf(certificate: X509Certificate): number {
  const constraints = extensionOf(certificate, BASIC_CONSTRAINTS);
  const [sequence] = constraints === undefined ? [] : elementsOf(constraints);
  const length = elementsOf(sequence?.content ?? Buffer.alloc(0)).find(({ tag }) => tag === INTEGER);
  return length === undefined ? Infinity : Number(`0x${length.content.toString('hex')}`);
}

/** Returns the value of an extension (RFC 5280, section 4.1). */
function extensionOf({ raw }: X509Certificate, id: string): Buffer | undefined {
  const [certificate] = elementsOf(raw);
  const [signed] = elementsOf(certificate?.content ?? raw);
  const wrapped = elementsOf(signed?.content ?? raw).find(({ tag }) => tag === EXTENSIONS);
  const [list] = elementsOf(wrapped?.content ?? Buffer.alloc(0));
  for (const { tag, content } of elementsOf(list?.content ?? Buffer.alloc(0))) {
    const [name, ...rest] = tag === SEQUENCE ? elementsOf(content) : [];
    if (name?.tag !== OBJECT_IDENTIFIER || name.content.toString('hex') !== id) continue;
    return rest.find((element) => element.tag !== BOOLEAN)?.content;
  }
  return undefined;
}

/** Returns the elements of DER that Node has parsed before (X.690 section 8.1); a wrong length ends the list. */
function elementsOf(der: Buffer): Element[] {
  const elements: Element[] = [];
  for (let at = 0; at + 2 <= der.length;) {
    const tag = der.readUInt8(at);
    const first = der.readUInt8(at + 1);
    const lengthBytes = first < 0x80 ? 0 : first & 0x7f;
    const start = at + 2 + lengthBytes;
    if (lengthBytes > 4 || start > der.length) break;
    const length = lengthBytes === 0 ? first : der.readUIntBE(at + 2, lengthBytes);
    if (start + length > der.length) break;
    elements.push({ tag, content: der.subarray(start, start + length) });
    at = start + length;
  }
  return elements;
}
