/** Shows when the certificates in use end, so that an alert comes before. */
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Gauge, type Registry } from 'prom-client';

export interface NamedCertificate {
  readonly role: string;
  /** A file of PEM: a certificate with those that have issued it, or a list of CAs. */
  readonly certificate: string;
}

const PEM = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** The files are read whenever metrics are: they change while the service runs. */
export function certificateMetrics(registry: Registry, certificates: readonly NamedCertificate[]): void {
  new Gauge({
    name: 'registry_packages_proxy_certificate_end_timestamp_seconds',
    help: 'When a certificate ends, in Unix time.',
    labelNames: ['role'],
    registers: [registry],
    collect() {
      this.reset();
      for (const { role, certificate } of certificates) {
        const end = endOf(certificate);
        if (end !== undefined) this.set({ role }, end);
      }
    },
  });
}

/** Undefined where the file does not exist or holds no certificate. */
function endOf(path: string): number | undefined {
  const certificates = (textOf(path).match(PEM) ?? []).flatMap(parse);
  const ends = certificates.map(({ validToDate }) => validToDate.getTime() / 1000);
  const [first] = certificates;
  if (first === undefined) return undefined;
  // A chain ends with its first part that does; a list of CAs is of use as long as one of them is.
  return first.ca ? Math.max(...ends) : Math.min(...ends);
}

/** In this turn: while the disk of the cache hangs, it holds all threads that read files. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function parse(pem: string): X509Certificate[] {
  try {
    return [new X509Certificate(pem)];
  } catch {
    return [];
  }
}
