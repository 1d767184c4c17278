/** Errors in the format of the distribution-spec ("Error Codes"), with its codes or those of its implementation. */
import type { Context } from 'koa';
import type { Problem } from '../server/problem.ts';

/** Each response has this header, by which old clients recognize a registry. */
export const API_VERSION = { 'Docker-Distribution-API-Version': 'registry/2.0' };

/** Other codes concern the service or its registry, which are one server for a client. */
const CODES: Readonly<Partial<Record<Problem['code'], string>>> = {
  DIGEST_INVALID: 'DIGEST_INVALID',
  NAME_INVALID: 'NAME_INVALID',
  NAME_UNKNOWN: 'NAME_UNKNOWN',
  MANIFEST_UNKNOWN: 'MANIFEST_UNKNOWN',
  BLOB_UNKNOWN: 'BLOB_UNKNOWN',
  MANIFEST_INVALID: 'MANIFEST_INVALID',
  SIGNATURE_INVALID: 'DENIED',
  TOOMANYREQUESTS: 'TOOMANYREQUESTS',
  OVERLOADED: 'TOOMANYREQUESTS',
  RANGE_UNSATISFIABLE: 'RANGE_INVALID',
  METHOD_UNSUPPORTED: 'UNSUPPORTED',
  PAGE_UNKNOWN: 'UNSUPPORTED',
  QUERY_INVALID: 'UNSUPPORTED',
  REQUEST_INVALID: 'UNSUPPORTED',
  TARGET_TOO_LONG: 'UNSUPPORTED',
  EXPECTATION_UNSUPPORTED: 'UNSUPPORTED',
  INTERNAL: 'UNKNOWN',
};

/** For these codes clients of a registry try another host, and they do not repeat a 403. */
const STATUS: Readonly<Partial<Record<Problem['code'], number>>> = { SIGNATURE_INVALID: 403 };

/** Messages in the terms of the specification, because clients of this interface know no packages. */
const MESSAGES: Readonly<Partial<Record<Problem['code'], string>>> = {
  MANIFEST_UNKNOWN: 'manifest unknown',
  BLOB_UNKNOWN: 'blob unknown',
};

export function writeOciError(ctx: Context, { status, code, detail, headers }: Problem, requestId: string): void {
  ctx.status = STATUS[code] ?? status;
  ctx.set({ 'Cache-Control': 'no-store', 'X-Content-Type-Options': 'nosniff', ...API_VERSION, ...headers });
  ctx.type = 'application/json';
  const error = {
    code: CODES[code] ?? 'UNAVAILABLE',
    message: MESSAGES[code] ?? detail,
    detail: { code, request_id: requestId },
  };
  ctx.body = JSON.stringify({ errors: [error] });
}
