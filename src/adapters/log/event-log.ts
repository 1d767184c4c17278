/** Logs events: finished requests, arrivals in the store, watched objects. */
import type { Logger } from 'pino';
import type { FinishedRequest, RequestObserver } from '../http/server/request-record.ts';
import type { Descriptor } from '../../domain/descriptor.ts';

/** Routes that machines, or an open page, request every few seconds; only their failures are logged. */
const PROBES: ReadonlySet<string> = new Set(['/healthz', '/readyz', '/metrics', '/status']);

export function accessLog(logger: Logger): RequestObserver {
  return (request) => {
    const { id, trace, client, connected, method, route, status, seconds, bytes, cache, error } = request;
    const { isBeside, ...named } = request.package ?? {};
    logger[levelOf(request)](
      {
        request_id: id,
        trace_id: trace.traceId,
        span_id: trace.spanId,
        client,
        connected,
        method,
        route,
        status,
        duration_ms: Math.round(seconds * 1000),
        bytes,
        ...named,
        beside: isBeside,
        cache: cache?.kind,
        ...(cache?.kind === 'bypass' && { bypass: cache.reason }),
        unverified: request.isUnverified,
        err: error,
      },
      'request',
    );
  };
}

function levelOf({ status, route }: FinishedRequest): 'debug' | 'info' | 'warn' | 'error' {
  if (status === 500) return 'error';
  if (status > 500) return 'warn';
  return status < 400 && PROBES.has(route) ? 'debug' : 'info';
}

/** The fields of an arrival's events that are logged. */
type ArrivalEvent = { readonly blob: Descriptor } & (
  { readonly kind: 'begun' } | { readonly kind: 'ended'; readonly seconds: number; readonly error: unknown }
);

/** `traceId` returns the trace of the request that began the arrival. */
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

/** The shortest time between two lines about the same failure. */
const QUIET_MS = 60_000;

/** The fields of a watcher's events that are logged. */
type WatchedEvent = { readonly resource: string } & (
  | { readonly kind: 'listed'; readonly objects: number }
  | { readonly kind: 'changed' | 'forbidden' }
  | { readonly kind: 'failed'; readonly during: string; readonly error: unknown }
  | { readonly kind: 'invalid'; readonly object: string; readonly error: Error }
  | { readonly kind: 'conflict'; readonly object: string; readonly winner: string; readonly repository: string }
);

export function watchLog(logger: Logger): (event: WatchedEvent) => void {
  const lastFailure = new Map<string, number>();
  return (event) => {
    const { resource } = event;
    switch (event.kind) {
      case 'listed':
        lastFailure.delete(resource);
        logger.debug({ resource, objects: event.objects }, 'listed');
        break;
      case 'changed':
        break;
      case 'forbidden':
        logger.info({ resource }, 'listing is forbidden, counting as empty');
        break;
      case 'failed':
        if (performance.now() - (lastFailure.get(resource) ?? -Infinity) < QUIET_MS) return;
        lastFailure.set(resource, performance.now());
        logger.warn({ resource, during: event.during, err: event.error }, 'watching failed, trying again');
        break;
      case 'invalid':
        logger.warn(
          // The line has no stack, because an object with a mistake is not a bug of this program.
          { resource, object: event.object, reason: event.error.message },
          'object cannot be used, keeping its previous state',
        );
        break;
      case 'conflict': {
        const { object, winner, repository } = event;
        logger.warn({ resource, object, winner, repository }, 'repository belongs to another object');
      }
    }
  };
}
