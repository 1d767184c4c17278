/** The test CA and the servers' certificates as PEM text. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const read = (name: string): string => readFileSync(join(import.meta.dirname, name), 'utf8');

export const CA = read('ca.pem');

export function serverCertificate(name: 'localhost' | 'elsewhere'): { cert: string; key: string } {
  return { cert: read(`${name}.pem`), key: read(`${name}.key`) };
}
