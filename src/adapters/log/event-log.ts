/** Logs the events of the service: requests, arrivals, signatures, and the state of the cluster, sources, bucket and loopback port. */
import type { Logger } from 'pino';
import type { SignatureFinding } from '../../application/resolve-signed-package.ts';
import type { Descriptor, Digest } from '../../domain/descriptor.ts';
import type { Refusal } from '../http/server/mutual-tls.ts';
import type { FinishedRequest, RequestObserver } from '../http/server/request-record.ts';

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

/** The shortest time between two lines about the same failure, because each miss can cause it. */
const QUIET_MS = 60_000;

/** Remembers the time of the last line about each failure. */
class LoggedFailures {
  readonly #loggedMs = new Map<string, number>();

  /** Returns whether the failure should be logged now. */
  isDue(failure: string): boolean {
    const now = performance.now();
    if (now - (this.#loggedMs.get(failure) ?? -Infinity) < QUIET_MS) return false;
    this.#loggedMs.set(failure, now);
    return true;
  }

  /** Called when the work succeeds: the next failure is logged at once. */
  forget(failure: string): void {
    this.#loggedMs.delete(failure);
  }
}

/** The fields of a watcher's events that are logged. */
type WatchedEvent = { readonly resource: string } & (
  | { readonly kind: 'listed'; readonly objects: number }
  | { readonly kind: 'changed' | 'forbidden' }
  | { readonly kind: 'failed'; readonly during: string; readonly error: unknown }
  | { readonly kind: 'invalid'; readonly object: string; readonly error: Error }
  | { readonly kind: 'conflict'; readonly object: string; readonly winner: string; readonly repository: string }
);

export function watchLog(logger: Logger): (event: WatchedEvent) => void {
  const failures = new LoggedFailures();
  return (event) => {
    const { resource } = event;
    switch (event.kind) {
      case 'listed':
        failures.forget(resource);
        logger.debug({ resource, objects: event.objects }, 'listed');
        break;
      case 'changed':
        break;
      case 'forbidden':
        logger.info({ resource }, 'listing is forbidden, counting as empty');
        break;
      case 'failed':
        if (failures.isDue(resource)) {
          logger.warn({ resource, during: event.during, err: event.error }, 'watching failed, trying again');
        }
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

interface SourceSwitch {
  readonly source: { readonly kind: string; readonly name: string };
  readonly reason: string;
  readonly digest: string;
  readonly error: unknown;
}

/** Reasons that follow from an earlier one, or are not failures. */
const SILENT = ['absent', 'resting'];

/** A source without the package has not failed. */
export function sourceLog(logger: Logger): (event: SourceSwitch) => void {
  const failures = new LoggedFailures();
  return ({ source: { kind, name }, reason, digest, error: err }) => {
    if (SILENT.includes(reason) || (reason === 'distrusted' && err === undefined)) return;
    if (failures.isDue(`${kind} ${name}`)) {
      logger.warn({ source: kind, host: name, reason, digest, err }, 'source is not used, asking elsewhere');
    }
  };
}

/** Logs that the files of a mirror's credential have changed, or cannot be used. */
export function credentialLog(logger: Logger, host: string): (error?: Error) => void {
  return (err) => {
    if (err === undefined) logger.info({ source: 'mirror', host }, 'credentials of the source have changed');
    else
      logger.error(
        { source: 'mirror', host, err },
        'credentials of the source cannot be used, keeping the previous ones',
      );
  };
}

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

export function bucketLog(logger: Logger, bucket: string): (event: BucketEvent) => void {
  const failures = new LoggedFailures();
  return (event) => {
    switch (event.kind) {
      case 'usable':
        logger.info({ bucket }, 'bucket can be used');
        break;
      case 'unusable':
        if (failures.isDue(`unusable ${event.code}`)) {
          logger.warn({ bucket, code: event.code, err: event.error }, 'bucket cannot be used');
        }
        break;
      case 'write': {
        const { blob, result, error: err } = event;
        const fields = { bucket, blob: blob.digest, bytes: blob.size };
        if (result === 'written') logger.info(fields, 'blob written to the bucket');
        else if (result !== 'there' && failures.isDue(result)) {
          logger.warn({ ...fields, result, ...(err !== undefined && { err }) }, 'blob not written to the bucket');
        }
      }
    }
  };
}

/** A verdict is cached, so not every request has a line. */
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

/** Logs the first client that the loopback port refuses, and then one line for each minute with further ones. */
export function refusalLog(logger: Logger): (refusal: Refusal) => void {
  let refused: Partial<Record<Refusal, number>> = {};
  let timer: NodeJS.Timeout | undefined;
  const write = (): void => {
    timer = undefined;
    if (Object.keys(refused).length === 0) return;
    logger.warn({ refused }, 'clients of the loopback port refused');
    refused = {};
    timer = setTimeout(write, QUIET_MS).unref();
  };
  return (refusal) => {
    refused[refusal] = (refused[refusal] ?? 0) + 1;
    if (timer === undefined) write();
  };
}

/** `err` is the reason why changed files cannot be used. */
export function certificateLog(logger: Logger): (err?: unknown) => void {
  return (err) => {
    if (err === undefined) logger.info('certificates of the loopback port read again');
    else logger.warn({ err }, 'certificates of the loopback port cannot be used, keeping the previous ones');
  };
}
