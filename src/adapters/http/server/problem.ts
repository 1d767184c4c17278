/** Errors as HTTP responses: one table of statuses, and the one place that turns an error into a response. */
import type { Context, Middleware } from 'koa';
import {
  DescribedError,
  type ErrorCode,
  isOneOf,
  PackageError,
  UpstreamThrottledError,
} from '../../../domain/errors.ts';

/**
 * A 4xx stops the clients of this service, a 5xx lets them retry; so a 4xx is only for errors that each retry would repeat.
 */
const STATUS: Readonly<Record<ErrorCode, number>> = {
  DIGEST_INVALID: 400,
  NAME_INVALID: 400,
  QUERY_INVALID: 400,
  NAME_UNKNOWN: 404,
  MANIFEST_UNKNOWN: 404,
  BLOB_UNKNOWN: 404,
  UPSTREAM_DENIED: 502,
  UPSTREAM_UNAVAILABLE: 502,
  MANIFEST_INVALID: 502,
  DIGEST_MISMATCH: 502,
  SIGNATURE_INVALID: 502,
  CREDENTIALS_PENDING: 503,
  TOOMANYREQUESTS: 503,
  STORE_FULL: 503,
  STORE_FAILED: 503,
  STOPPING: 503,
  UPSTREAM_TIMEOUT: 504,
};

/** The part of an error body that the scripts on nodes print. */
const MAX_BODY_BYTES = 255;

/** `INTERNAL` stands for errors without a code. */
export function statusOf(code: ErrorCode | 'INTERNAL'): number {
  return code === 'INTERNAL' ? 500 : STATUS[code];
}

const REFUSED = {
  REQUEST_INVALID: 400,
  PAGE_UNKNOWN: 404,
  REFERENCE_UNKNOWN: 404,
  METHOD_UNSUPPORTED: 405,
  TARGET_TOO_LONG: 414,
  RANGE_UNSATISFIABLE: 416,
  EXPECTATION_UNSUPPORTED: 417,
  HEAD_TIMEOUT: 408,
  HEADERS_TOO_LARGE: 431,
  OVERLOADED: 503,
} as const;

/** A request that the rules of HTTP forbid, for any package. */
export class RefusedError extends Error {
  override readonly name = 'RefusedError';
  readonly code: keyof typeof REFUSED;
  /** The headers that HTTP requires for the status. */
  readonly headers: Readonly<Record<string, string>>;
  constructor(code: RefusedError['code'], message: string, headers: RefusedError['headers'] = {}) {
    super(message);
    this.code = code;
    this.headers = headers;
  }
}

/** examples/fetch-package.sh pauses 5 s between its rounds; the retry comes after that pause, spread over 10 s. */
const RETRY_AFTER_SECONDS = { least: 5, most: 15 };

/** The retries of nodes that are refused in the same second come in different seconds. */
export function overloaded(message: string): RefusedError {
  const { least, most } = RETRY_AFTER_SECONDS;
  const seconds = least + Math.floor(Math.random() * (most - least + 1));
  return new RefusedError('OVERLOADED', message, { 'Retry-After': String(seconds) });
}

/** The client closed its connection before the end of the body, or reads too slowly. */
export class ClientGoneError extends Error {
  override readonly name = 'ClientGoneError';
  constructor() {
    super('client closed the connection');
  }
}

export function rangeUnsatisfiable(size: number): RefusedError {
  const headers = { 'Accept-Ranges': 'bytes', 'Content-Range': `bytes */${String(size)}` };
  return new RefusedError('RANGE_UNSATISFIABLE', 'no byte of this range exists', headers);
}

/** A domain error with the wording that the clients of one route know. */
class RewordedError extends DescribedError {
  override readonly name = 'RewordedError';
}

/** The parts of an error that clients get. */
export interface Problem {
  readonly status: number;
  readonly code: ErrorCode | RefusedError['code'] | 'INTERNAL';
  readonly detail: string;
  readonly headers: Readonly<Record<string, string>>;
}

export function problemOf(error: unknown): Problem {
  if (error instanceof RefusedError) {
    return { status: REFUSED[error.code], code: error.code, detail: error.message, headers: error.headers };
  }
  if (error instanceof RewordedError) return { ...problemOf(error.error), detail: error.message };
  if (error instanceof DescribedError) return problemOf(error.error);
  if (!(error instanceof PackageError)) {
    return { status: 500, code: 'INTERNAL', detail: 'internal error', headers: {} };
  }
  const status = statusOf(error.code);
  const patience = error instanceof UpstreamThrottledError ? error.retryAfterSeconds : 1;
  return {
    status,
    code: error.code,
    detail: error.message,
    headers: status === 503 ? { 'Retry-After': String(patience) } : {},
  };
}

/** Writes the error response of a request. */
export type WriteProblem = (ctx: Context, problem: Problem, requestId: string) => void;

/** Answers errors that occur before the headers are sent. After them the sender ends the connection. */
export function errorResponses(
  writerOf: (target: string) => WriteProblem | undefined,
): Middleware<{ readonly record: { readonly id: string; error: unknown } }> {
  return async (ctx, next) => {
    try {
      await next();
    } catch (error) {
      ctx.state.record.error = error;
      if (ctx.headerSent || ctx.res.destroyed) ctx.res.destroy();
      else (writerOf(ctx.url) ?? respond)(ctx, problemOf(error), ctx.state.record.id);
    }
  };
}

function respond(ctx: Context, { status, code, detail, headers }: Problem, requestId: string): void {
  ctx.status = status;
  ctx.set({ 'Cache-Control': 'no-store', 'X-Content-Type-Options': 'nosniff', ...headers });
  if (ctx.accepts('text/plain', 'application/problem+json', 'application/json') === 'text/plain') {
    ctx.type = 'text/plain; charset=utf-8';
    ctx.body = `${detail.slice(0, MAX_BODY_BYTES - 1)}\n`;
  } else {
    const title = code.toLowerCase().replaceAll('_', ' ');
    ctx.type = 'application/problem+json';
    ctx.body = JSON.stringify({ type: 'about:blank', title, status, detail, code, request_id: requestId });
  }
}

export interface Words {
  /** The wording if no registry has the content. */
  readonly unknown: string;
  /** The wording if the registry fails, or sends unusable content. */
  readonly failed: string;
}

/** Errors that ask for a later retry keep their own wording. */
export async function reworded<Value>({ unknown, failed }: Words, work: Promise<Value>): Promise<Value> {
  try {
    return await work;
  } catch (error) {
    const known = error instanceof DescribedError ? error.error : error;
    if (!(error instanceof Error && known instanceof PackageError)) throw error;
    const reword = (message: string): RewordedError => new RewordedError(known, message, error);
    if (isOneOf(known, 'NAME_UNKNOWN', 'MANIFEST_UNKNOWN', 'BLOB_UNKNOWN')) throw reword(unknown);
    if (isOneOf(known, 'UPSTREAM_DENIED', 'UPSTREAM_UNAVAILABLE', 'MANIFEST_INVALID', 'DIGEST_MISMATCH')) {
      throw reword(failed);
    }
    throw isOneOf(known, 'CREDENTIALS_PENDING') ? reword('registry config unavailable') : error;
  }
}
