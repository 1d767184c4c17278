/** Logs each verdict on the signature of an image. A verdict is cached, so not every request has a line. */
import type { Logger } from 'pino';
import type { SignatureFinding } from '../../application/resolve-signed-package.ts';

export function signatureLog(logger: Logger): (finding: SignatureFinding) => void {
  return ({ request: { digest, repository, path }, verdict }) => {
    const fields = { digest, repository, path };
    if (verdict.kind === 'valid') {
      const { format, key } = verdict;
      logger.info({ ...fields, signature: verdict.kind, format, key }, 'image is signed');
    } else {
      logger.warn({ ...fields, signature: verdict.kind, reason: verdict.reason }, 'image has no valid signature');
    }
  };
}
