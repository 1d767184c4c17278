/** The test CAs and the servers' certificates as PEM text. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export type ServerName = 'localhost' | 'elsewhere' | 'issued' | 'weak';

const read = (name: string): string => readFileSync(join(import.meta.dirname, name), 'utf8');

export const CA = read('ca.pem');
/** Another root, and the issuing CA below it that signs `issued` and `weak`. */
export const SECOND_ROOT = read('root.pem');
export const ISSUING_CA = read('issuing.pem');

export function serverCertificate(name: ServerName): { cert: string; key: string } {
  return { cert: read(`${name}.pem`), key: read(`${name}.key`) };
}

/** The certificate of a server followed by that of its issuing CA, as servers usually send them. */
export function serverChain(name: 'issued' | 'weak'): { cert: string; key: string } {
  const { cert, key } = serverCertificate(name);
  return { cert: cert + ISSUING_CA, key };
}
