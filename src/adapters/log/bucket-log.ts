/** Logs the events of the bucket: whether it can be used, and which blobs are written to it. */
import type { Logger } from 'pino';
import type { Digest } from '../../domain/descriptor.ts';

/** The fields of a bucket's events that are logged. */
type BucketEvent =
  | { readonly kind: 'usable' }
  | { readonly kind: 'unusable'; readonly code: string; readonly error: unknown }
  | {
      readonly kind: 'write';
      readonly blob: { readonly digest: Digest; readonly size: number | undefined };
      readonly result: 'written' | 'there' | 'failed' | 'dropped';
      readonly error?: unknown;
    };

/** The shortest time between two lines about the same failure, because each miss can cause it. */
const QUIET_MS = 60_000;

/** `now` is a monotonic clock in milliseconds. */
export function bucketLog(
  logger: Logger,
  bucket: string,
  now: () => number = () => performance.now(),
): (event: BucketEvent) => void {
  const last = new Map<string, number>();
  const isNew = (failure: string): boolean => {
    if (now() - (last.get(failure) ?? -Infinity) < QUIET_MS) return false;
    last.set(failure, now());
    return true;
  };
  return (event) => {
    switch (event.kind) {
      case 'usable':
        logger.info({ bucket }, 'bucket can be used');
        break;
      case 'unusable':
        if (isNew(`unusable ${event.code}`)) {
          logger.warn({ bucket, code: event.code, err: event.error }, 'bucket cannot be used');
        }
        break;
      case 'write': {
        const { blob, result, error: err } = event;
        const fields = { bucket, blob: blob.digest, bytes: blob.size };
        if (result === 'written') logger.info(fields, 'blob written to the bucket');
        else if (result !== 'there' && isNew(result)) {
          logger.warn({ ...fields, result, ...(err !== undefined && { err }) }, 'blob not written to the bucket');
        }
      }
    }
  };
}
