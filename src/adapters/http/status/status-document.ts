/** The state of the service as data for programs, as on the page. A field is null if its value is absent or unknown. */
import type { Download } from '../../../application/downloads.ts';
import type { FailedRequests } from '../../../domain/ports/request-inspection.ts';
import {
  describeAnswer,
  describeFailure,
  describePlace,
  describeRegistry,
  describeSource,
  describeUpstream,
  documentOf,
} from '../package/explain-route.ts';
import { type CachedPackage, listPackages } from './cached-packages.ts';
import { MAX_ROWS } from './parts.ts';
import type { Status } from './status-page.ts';

/** One function for each section, in the order of the page. */
export function statusDocument(status: Omit<Status, 'question'>): object {
  const { inspection, explanation } = status;
  const { requests, upstreams, credentials } = inspection;
  return {
    ...head(status),
    cache: cache(status),
    outcomes: requests.outcomes,
    last_hour: requests.lastHour(),
    failures: requests.failures().map(failure),
    upstream_errors: upstreams
      .answers()
      .filter(({ code }) => code !== 'OK')
      .map(describeAnswer),
    downloads: downloads(status),
    packages: packages(status),
    registries: credentials
      .registries()
      .map((registry) => ({ ...describeRegistry(registry), upstream: describeUpstream(registry.upstream) })),
    sources: credentials.sources().map(describeSource),
    asked_before: (inspection.sources?.sources() ?? []).map(describePlace),
    explanation: explanation === undefined ? null : documentOf(explanation),
  };
}

function head({ version, node, pod, startedAt, now, missing }: Omit<Status, 'question'>): object {
  const isReady = missing.length === 0;
  return { version, node: node ?? null, pod: pod ?? null, started_at: startedAt, at: now, ready: isReady, missing };
}

function cache({ inspection: { store } }: Omit<Status, 'question'>): object {
  const { bytes, maxBytes, limitBytes, entries, evicted, damaged } = store.usage;
  return { bytes, max_bytes: maxBytes, limit_bytes: limitBytes, blobs: entries, evicted, damaged };
}

function failure(failed: FailedRequests): object {
  return { digest: failed.request?.digest ?? null, ...describeFailure(failed) };
}

function downloads({ inspection }: Omit<Status, 'question'>): object {
  const { slots, list } = { slots: inspection.downloads.slots, list: inspection.downloads.list() };
  const { max, running, idle, queued } = slots;
  return { max, running, idle, queued, list: list.map(download) };
}

function download({ request, layer, bytes, clients, isQueued, startedAt, source }: Download): object {
  const { digest, repository, path = null } = request;
  const times = { opened_at: source?.openedAt ?? null, received_at: source?.receivedAt ?? null };
  const progress = { bytes, size: layer.size, clients, queued: isQueued, started_at: startedAt, ...times };
  return { digest, repository, path, layer: layer.digest, ...progress };
}

function packages({ inspection, listing }: Omit<Status, 'question'>): object {
  const { packages: found, total } = listPackages(inspection, listing);
  return { total, list: found.slice(0, MAX_ROWS).map(cachedPackage) };
}

function cachedPackage({ request, isPlaced, layer }: CachedPackage): object {
  const { digest, repository, path = null } = request;
  const place = isPlaced ? { repository, path } : { repository: null, path: null };
  const times = { stored_at: layer.storedAt, used_at: layer.usedAt, verified_at: layer.verifiedAt ?? null };
  return { digest, ...place, layer: layer.digest, size: layer.size, ...times };
}
