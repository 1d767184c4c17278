/** Counts the blobs for the bucket, and shows whether it can be used. */
import { Counter, Gauge, type Registry } from 'prom-client';

const RESULTS = ['written', 'there', 'failed', 'dropped'] as const;

/** The fields of a bucket's events that are counted. */
type BucketEvent =
  { readonly kind: 'usable' | 'unusable' } | { readonly kind: 'write'; readonly result: (typeof RESULTS)[number] };

/** `queued` returns the number of blobs that wait or are being written. */
export function bucketMetrics(registry: Registry, queued: () => number): (event: BucketEvent) => void {
  const writes = new Counter({
    name: 'registry_packages_proxy_bucket_writes_total',
    help: 'Blobs for the bucket: written, already there, failed, or dropped because too many waited or the service stopped.',
    labelNames: ['result'],
    registers: [registry],
  });
  const usable = new Gauge({
    name: 'registry_packages_proxy_bucket_usable',
    help: '1 if the bucket answered the last request; 0 while it does not exist, refuses the keys, or no keys are configured.',
    registers: [registry],
  });
  new Gauge({
    name: 'registry_packages_proxy_bucket_write_queue',
    help: 'Blobs that are being written to the bucket or wait for it.',
    registers: [registry],
    collect() {
      this.set(queued());
    },
  });
  for (const result of RESULTS) writes.inc({ result }, 0);
  return (event) => {
    if (event.kind === 'write') writes.inc({ result: event.result });
    else usable.set(event.kind === 'usable' ? 1 : 0);
  };
}
