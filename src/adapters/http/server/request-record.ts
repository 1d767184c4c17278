/** The record of a request, which log and metrics get once at its end, the history of the records, and the features. */
import type { Middleware } from 'koa';
import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import type { CacheOutcome } from '../../../application/get-package.ts';
import { BoundedMap } from '../../../domain/bounded-map.ts';
import type { Digest } from '../../../domain/descriptor.ts';
import type { FailedRequests, RequestInspection, RequestMinute } from '../../../domain/ports/request-inspection.ts';
import type { PackageRequest } from '../../../domain/reference.ts';
import { ClientGoneError, problemOf, type WriteProblem } from './problem.ts';
import { RequestTrace } from './trace-context.ts';

interface RequestRecord {
  /** The value of `X-Request-Id`, or a new one. */
  readonly id: string;
  /** The trace of `traceparent` and `tracestate`. */
  readonly trace: RequestTrace;
  /** The address in `X-Forwarded-For`, which any process can write on the plain port; without it, that of the connection. */
  readonly client: string;
  /** The peer address of the connection: that of the sidecar, or of a client without one. */
  readonly connected: string;
  readonly method: string;
  /** A route of this service or `other`: never text of the client. */
  readonly route: string;
  /** The parsed package; undefined before the parsing. */
  package: PackageRequest | undefined;
  cache: CacheOutcome | undefined;
  /** Set if a body began before its verification, on a route whose clients stop reading early. */
  isUnverified?: true;
  /** The bytes of the body that the kernel has accepted. */
  bytes: number;
  error: unknown;
}

export interface FinishedRequest extends Readonly<RequestRecord> {
  /** The status of the response, or of the error if the head was already sent; 499 if the client left before the end. */
  readonly status: number;
  readonly seconds: number;
}

export interface RequestState {
  record: RequestRecord;
}

export type RequestObserver = (request: FinishedRequest) => void;

/** Serves the paths below a prefix. */
export interface Feature {
  /** Returns whether the request target, with or without its query, belongs to the feature. */
  readonly owns: (target: string) => boolean;
  /** Writes the error response of a request of the feature, if it has a format of its own. */
  readonly writeError?: WriteProblem;
  /** Returns the name of the route for metrics and the log; undefined for a path outside the feature. */
  readonly routeOf: (path: string) => string | undefined;
  /** Answers the requests of the feature. */
  readonly routes: Middleware<RequestState>;
}

/** A client that leaves is not an error of the service, so the status is not a 5xx; nginx uses the same. */
const CLIENT_CLOSED_REQUEST = 499;

/** `routeOf` returns the name of the route of a path, `other` for an unknown path. */
export function recordRequests(
  routeOf: (path: string) => string,
  observers: readonly RequestObserver[],
): Middleware<RequestState> {
  return async (ctx, next) => {
    const started = process.hrtime.bigint();
    // The raw target is split, because Koa parses a whole URL and throws for some.
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
    // A route that writes the response without Koa has set the header.
    if (!ctx.headerSent) ctx.set('X-Request-Id', record.id);
  };
}

function statusOf(record: RequestRecord, response: { statusCode: number; writableFinished: boolean }): number {
  if (response.writableFinished) return response.statusCode;
  if (record.error === undefined || record.error instanceof ClientGoneError) return CLIENT_CLOSED_REQUEST;
  return problemOf(record.error).status;
}

/** The sidecar appends it to the header of the client, so the last address counts; other text is not safe in the log. */
function clientAddress({ headers, socket }: IncomingMessage): string {
  const forwarded =
    String(headers['x-forwarded-for'] ?? '')
      .split(',')
      .at(-1)
      ?.trim() ?? '';
  return isIP(forwarded) === 0 ? (socket.remoteAddress ?? '') : forwarded;
}

/** Accepts only characters that are harmless in a header and in the log. */
function requestId(given: string): string {
  return /^[A-Za-z0-9._-]{1,64}$/.test(given) ? given : randomUUID();
}

/** The number of stored reasons; the failures of a hundred nodes with the same reason are one entry. */
const MAX_FAILURES = 128;
/** A megabyte of memory; as many as the status page lists. */
const MAX_REQUESTS = 5000;

export class RequestHistory implements RequestInspection {
  readonly outcomes: Record<CacheOutcome['kind'], number> = { hit: 0, miss: 0, joined: 0, bypass: 0 };
  /** In the order of their last occurrence. */
  readonly #failures = new BoundedMap<string, FailedRequests>(MAX_FAILURES);
  /** In the order of their first delivery. */
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

  /** A hit of a package that is stored already costs one look-up. */
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
  /** The number of the minute since the epoch, by which an older minute in the slot of this one is recognized. */
  minute: number;
}

/** The requests of the last hour, in one slot for each minute, so that the memory does not grow with them. */
class LastHour {
  readonly #slots = Array.from({ length: MINUTES }, () => emptySlot(-1));
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Returns the counters of this minute. */
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
