/** Counts the verdicts on signatures of images. */
import { Counter, type Registry } from 'prom-client';
import type { SignatureFinding } from '../../application/resolve-signed-package.ts';

const VERDICTS: readonly SignatureFinding['verdict']['kind'][] = ['valid', 'missing', 'invalid', 'unavailable'];

export function signatureMetrics(registry: Registry): (finding: SignatureFinding) => void {
  const verifications = new Counter({
    name: 'registry_packages_proxy_signature_verifications_total',
    help: 'Images whose signature was verified, by verdict. A verdict is remembered, so it is not counted at each request.',
    labelNames: ['verdict'],
    registers: [registry],
  });
  // The counters exist from the start, so that the first refusal is an increase.
  for (const verdict of VERDICTS) verifications.inc({ verdict }, 0);
  return ({ verdict }) => {
    verifications.inc({ verdict: verdict.kind });
  };
}
