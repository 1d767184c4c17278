/** The record of a request, which log and metrics get once at its end, and the history of the records. */
import type { Middleware } from 'koa';
import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import type { CacheOutcome } from '../../../application/get-package.ts';
import { BoundedMap } from '../../../domain/bounded-map.ts';
import type { Digest } from '../../../domain/descriptor.ts';
import type { FailedRequests, RequestInspection, RequestMinute } from '../../../domain/ports/request-inspection.ts';
import type { PackageRequest } from '../../../domain/reference.ts';
import { ClientGoneError, problemOf } from './problem.ts';
import { RequestTrace } from './trace-context.ts';

interface RequestRecord {
  /** From `X-Request-Id`, or a new one. */
  readonly id: string;
  /** From `traceparent` and `tracestate`. */
  readonly trace: RequestTrace;
  /** The address that `X-Forwarded-For` claims, which on the plain port any process can write; else that of the connection. */
  readonly client: string;
  /** The address of the other end of the connection: of the sidecar, or of a client without one. */
  readonly connected: string;
  readonly method: string;
  /** One of ours or `other`: never what the client wrote. */
  readonly route: string;
  /** As parsed; undefined until then. */
  package: PackageRequest | undefined;
  cache: CacheOutcome | undefined;
  /** A body that began before all of it was verified, on a route whose clients stop reading early. */
  isUnverified?: true;
  /** Bytes of the body that the system has taken. */
  bytes: number;
  error: unknown;
}

export interface FinishedRequest extends Readonly<RequestRecord> {
  /** The status of the answer, or of the error when the head was already sent; 499 when the client left before the end. */
  readonly status: number;
  readonly seconds: number;
}

export interface RequestState {
  record: RequestRecord;
}

export type RequestObserver = (request: FinishedRequest) => void;

/** A client that leaves is no error of the service: nginx's status for it is not a 5xx. */
const CLIENT_CLOSED_REQUEST = 499;

/** `routeOf` names the route of a path, `other` for a path of no route. */
export function recordRequests(
  routeOf: (path: string) => string,
  observers: readonly RequestObserver[],
): Middleware<RequestState> {
  return async (ctx, next) => {
    const started = process.hrtime.bigint();
    // As it was written: Koa parses a whole URL, and throws at some.
    const [path = ''] = ctx.url.split('?', 1);
    const record: RequestRecord = {
      id: requestId(ctx.get('X-Request-Id')),
      trace: new RequestTrace(ctx.get('traceparent'), ctx.get('tracestate')),
      method: ctx.method,
      route: routeOf(path),
      package: undefined,
      cache: undefined,
      bytes: 0,
      error: undefined,
      client: clientAddress(ctx.req),
      connected: ctx.req.socket.remoteAddress ?? '',
    };
    ctx.state.record = record;
    ctx.res.once('close', () => {
      const seconds = Number(process.hrtime.bigint() - started) / 1e9;
      const finished = { ...record, status: statusOf(record, ctx.res), seconds };
      for (const observe of observers) observe(finished);
    });
    await next();
    // A route that sends by itself, without Koa, has set the header.
    if (!ctx.headerSent) ctx.set('X-Request-Id', record.id);
  };
}

function statusOf(record: RequestRecord, response: { statusCode: number; writableFinished: boolean }): number {
  if (response.writableFinished) return response.statusCode;
  if (record.error === undefined || record.error instanceof ClientGoneError) return CLIENT_CLOSED_REQUEST;
  return problemOf(record.error).status;
}

/** The sidecar appends it to the header of the client, so the last one counts; only an address is safe in the log. */
function clientAddress({ headers, socket }: IncomingMessage): string {
  const forwarded =
    String(headers['x-forwarded-for'] ?? '')
      .split(',')
      .at(-1)
      ?.trim() ?? '';
  return isIP(forwarded) === 0 ? (socket.remoteAddress ?? '') : forwarded;
}

/** Echoed in a header and written to the log, so only what can do no harm there. */
function requestId(given: string): string {
  return /^[A-Za-z0-9._-]{1,64}$/.test(given) ? given : randomUUID();
}

/** Reasons at a time, each with its requests: a hundred nodes that fail alike are one. */
const MAX_FAILURES = 128;
/** A megabyte, and all packages that the status page looks at. */
const MAX_REQUESTS = 5000;

export class RequestHistory implements RequestInspection {
  readonly outcomes: Record<CacheOutcome['kind'], number> = { hit: 0, miss: 0, joined: 0, bypass: 0 };
  /** In the order of their last times. */
  readonly #failures = new BoundedMap<string, FailedRequests>(MAX_FAILURES);
  /** In the order in which they were delivered first. */
  readonly #requests = new BoundedMap<Digest, PackageRequest>(MAX_REQUESTS);
  readonly #hour: LastHour;

  constructor(now: () => number = Date.now) {
    this.#hour = new LastHour(now);
  }

  lastHour(): RequestMinute[] {
    return this.#hour.list();
  }

  requestFor(digest: Digest): PackageRequest | undefined {
    return this.#requests.get(digest);
  }

  failures(): FailedRequests[] {
    return [...this.#failures.values()].reverse();
  }

  readonly observe = (request: FinishedRequest): void => {
    if (request.route !== '/package') return;
    const minute = this.#hour.current();
    minute.bytes += request.bytes;
    if (request.cache !== undefined && request.method === 'GET') {
      this.outcomes[request.cache.kind]++;
      minute[request.cache.kind === 'hit' ? 'hits' : 'misses']++;
      if (request.package !== undefined) this.#remember(request.package);
    }
    if (request.error !== undefined && !(request.error instanceof ClientGoneError)) {
      minute.failures++;
      this.#fail(request);
    }
  };

  /** A hit of a package that is remembered costs one look. */
  #remember(request: PackageRequest): void {
    if (!this.#requests.has(request.digest)) this.#requests.set(request.digest, request);
  }

  #fail({ package: asked, error }: FinishedRequest): void {
    const { status, code, detail } = problemOf(error);
    const key = `${code} ${asked?.digest ?? detail} ${asked?.repository ?? ''} ${asked?.path ?? ''}`;
    const before = this.#failures.get(key);
    const lastAt = new Date();
    this.#failures.set(key, {
      request: asked,
      status,
      code,
      detail,
      cause: error instanceof Error && error.cause instanceof Error ? error.cause.message : undefined,
      count: (before?.count ?? 0) + 1,
      firstAt: before?.firstAt ?? lastAt,
      lastAt,
    });
  }
}

const MINUTE_MS = 60_000;
const MINUTES = 60;

type Counts = Record<Exclude<keyof RequestMinute, 'at'>, number>;

interface Slot extends Counts {
  /** Since the epoch: an older minute in the slot of this one is over. */
  minute: number;
}

/** Requests of the last hour, by minutes, in memory that does not grow with them. */
class LastHour {
  readonly #slots = Array.from({ length: MINUTES }, () => emptySlot(-1));
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** The counts of this minute, to be raised. */
  current(): Counts {
    const minute = Math.floor(this.#now() / MINUTE_MS);
    const slot = this.#slots[minute % MINUTES];
    if (slot?.minute === minute) return slot;
    return (this.#slots[minute % MINUTES] = emptySlot(minute));
  }

  list(): RequestMinute[] {
    const last = Math.floor(this.#now() / MINUTE_MS);
    return Array.from({ length: MINUTES }, (_, index) => {
      const minute = last - MINUTES + 1 + index;
      const slot = this.#slots[minute % MINUTES];
      const { hits, misses, failures, bytes } = slot?.minute === minute ? slot : emptySlot(minute);
      return { at: new Date(minute * MINUTE_MS), hits, misses, failures, bytes };
    });
  }
}

function emptySlot(minute: number): Slot {
  return { minute, hits: 0, misses: 0, failures: 0, bytes: 0 };
}
