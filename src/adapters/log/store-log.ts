/** Logs how each arrival in the store ended: it may outlive all requests that waited for it. */
import type { Logger } from 'pino';
import type { Descriptor } from '../../domain/descriptor.ts';

/** The fields of an arrival's events that are logged. */
type ArrivalEvent = { readonly blob: Descriptor } & (
  { readonly kind: 'begun' } | { readonly kind: 'ended'; readonly seconds: number; readonly error: unknown }
);

/** `traceId` is that of the request that began the arrival. */
export function storeLog(logger: Logger, traceId: () => string | undefined): (event: ArrivalEvent) => void {
  return (event) => {
    if (event.kind === 'begun') return;
    const { blob, seconds, error: err } = event;
    const fields = {
      trace_id: traceId(),
      blob: blob.digest,
      bytes: blob.size,
      duration_ms: Math.round(seconds * 1000),
    };
    if (err === undefined) logger.info(fields, 'blob kept');
    else logger.warn({ ...fields, err }, 'blob not kept');
  };
}
