/** Metrics of the parts that only some settings add: the watch of the cluster, sources, the bucket, signatures of images. */
import { Counter, Gauge, type Registry } from 'prom-client';
import type { SignatureFinding } from '../../application/resolve-signed-package.ts';
import type { SourceKind, SourceStatus } from '../../domain/ports/registry-gateway.ts';
import { exposeGauges } from './service-metrics.ts';

/** The events of a watcher that can be counted. */
type WatchedEvent = { readonly resource: string } & (
  | { readonly kind: 'changed'; readonly objects: number; readonly rejected: number }
  | { readonly kind: 'listed' | 'forbidden' | 'failed' | 'invalid' | 'conflict' }
);

export function informerMetrics(registry: Registry, resources: readonly string[]): (event: WatchedEvent) => void {
  const labelNames = ['resource'];
  const lastSync = new Gauge({
    name: 'registry_packages_proxy_informer_last_sync_timestamp_seconds',
    help: 'Time of the last complete list of the resource, in Unix time; 0 if there was none.',
    labelNames,
    registers: [registry],
  });
  const objects = new Gauge({
    name: 'registry_packages_proxy_informer_objects',
    help: 'Objects of the resource that are known now.',
    labelNames,
    registers: [registry],
  });
  const restarts = new Counter({
    name: 'registry_packages_proxy_informer_restarts_total',
    help: 'Lists and watches of the resource that failed and were started again.',
    labelNames,
    registers: [registry],
  });
  const rejected = new Counter({
    name: 'registry_packages_proxy_informer_rejected_total',
    help: 'Objects that could not be used: invalid, or in conflict with an older one.',
    labelNames: ['resource', 'reason'],
    registers: [registry],
  });
  const rejectedNow = new Gauge({
    name: 'registry_packages_proxy_informer_rejected_objects',
    help: 'Objects of the resource that cannot be used at present.',
    labelNames,
    registers: [registry],
  });
  for (const resource of resources) {
    lastSync.set({ resource }, 0);
    objects.set({ resource }, 0);
    rejectedNow.set({ resource }, 0);
    restarts.inc({ resource }, 0);
    for (const reason of ['invalid', 'conflict']) rejected.inc({ resource, reason }, 0);
  }
  return (event) => {
    const { resource } = event;
    switch (event.kind) {
      case 'listed':
        lastSync.set({ resource }, Date.now() / 1000);
        break;
      case 'changed':
        objects.set({ resource }, event.objects);
        rejectedNow.set({ resource }, event.rejected);
        break;
      case 'forbidden':
        break;
      case 'failed':
        restarts.inc({ resource });
        break;
      case 'invalid':
      case 'conflict':
        rejected.inc({ resource, reason: event.kind });
    }
  };
}

const SWITCH_REASONS = ['absent', 'failed', 'late', 'slow', 'distrusted', 'resting'] as const;

interface SourceSwitch {
  readonly source: { readonly kind: SourceKind };
  readonly reason: (typeof SWITCH_REASONS)[number];
}

/** Counts the switches from a source to another place, and shows which sources fail. */
export function sourceMetrics(
  registry: Registry,
  kinds: readonly SourceKind[],
  status: () => readonly SourceStatus[],
): (event: SourceSwitch) => void {
  const switches = new Counter({
    name: 'registry_packages_proxy_source_switches_total',
    help: 'Times that another place was asked instead of a source, by reason; "absent" is not a failure.',
    labelNames: ['source', 'reason'],
    registers: [registry],
  });
  for (const source of kinds) for (const reason of SWITCH_REASONS) switches.inc({ source, reason }, 0);
  new Gauge({
    name: 'registry_packages_proxy_source_failing',
    help: '1 after a source failed or was slow, until it answers well again; otherwise 0.',
    labelNames: ['source', 'host'],
    registers: [registry],
    collect() {
      this.reset();
      for (const { kind: source, name: host, isFailing } of status()) this.set({ source, host }, isFailing ? 1 : 0);
    },
  });
  return ({ source, reason }) => {
    switches.inc({ source: source.kind, reason });
  };
}

const WRITE_RESULTS = ['written', 'there', 'failed', 'dropped'] as const;

/** The fields of a bucket's events that are counted. */
type BucketEvent =
  | { readonly kind: 'usable' | 'unusable' }
  | { readonly kind: 'write'; readonly result: (typeof WRITE_RESULTS)[number] };

/** Counts the blobs for the bucket. `queued` returns the number of blobs that wait or are being written. */
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
  exposeGauges(registry, [
    ['bucket_write_queue', 'Blobs that are being written to the bucket or wait for it.', queued],
  ]);
  for (const result of WRITE_RESULTS) writes.inc({ result }, 0);
  return (event) => {
    if (event.kind === 'write') writes.inc({ result: event.result });
    else usable.set(event.kind === 'usable' ? 1 : 0);
  };
}

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
