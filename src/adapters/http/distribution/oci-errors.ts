/** Errors in the form of the distribution-spec ("Error Codes"), with its codes where it has one, else with those of its reference. */
import type { Context } from 'koa';
import type { Problem } from '../server/problem.ts';

/** Each answer has it: old clients tell by it that this is a registry. */
export const API_VERSION = { 'Docker-Distribution-API-Version': 'registry/2.0' };

/** Other codes are of the service or of its registry, which a client knows as one server. */
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

/** Clients of a registry take another host after any of these, and do not repeat a 403. */
const STATUS: Readonly<Partial<Record<Problem['code'], number>>> = { SIGNATURE_INVALID: 403 };

/** In the words of the specification: no client here asks for a package. */
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
