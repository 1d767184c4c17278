/** GET /status, a page for people or data for programs, and GET /readyz: whether the service is ready, and why not. */
import type { Middleware } from 'koa';
import type { ExplainPackage } from '../../../application/explain-package.ts';
import type { Inspection } from './parts.ts';
import { PACKAGE_PARAMETERS, parsePackageQuery, readParameters } from '../package/package-query.ts';
import { parseListing } from './cached-packages.ts';
import { parseQuestion } from './explain-section.ts';
import { statusDocument } from './status-document.ts';
import { CONTENT_SECURITY_POLICY, renderStatus } from './status-page.ts';

export interface StatusOptions {
  readonly version: string;
  readonly node: string | undefined;
  readonly pod: string | undefined;
  readonly startedAt: Date;
  readonly inspection: Inspection;
}

const HEADERS = {
  'Content-Security-Policy': CONTENT_SECURITY_POLICY,
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Cache-Control': 'no-store',
  Vary: 'Accept',
};

/** The time limit for the checks. A disk that hangs answers no check, and this page must show that. */
const CHECK_TIMEOUT_MS = 2000;

/** With the query of /package, the page has the explanation, too. */
export function statusRoute(
  status: StatusOptions,
  explain: Pick<ExplainPackage, 'execute'>,
  checks: readonly ReadinessCheck[],
): Middleware {
  return async (ctx) => {
    const listing = parseListing(ctx.querystring);
    const fields = readParameters(ctx.querystring, PACKAGE_PARAMETERS);
    const isData = ctx.accepts('text/html', 'application/json') === 'application/json';
    const question = parseQuestion(fields);
    // The page shows mistakes at their fields; a program gets the error that /explain would return.
    if (isData && Object.keys(question.mistakes).length > 0) parsePackageQuery(ctx.querystring);
    const explanation = question.request && (await explain.execute(question.request));
    const missing = (await Promise.all(checks.map(soon))).filter((reason) => reason !== undefined);
    const state = { ...status, now: new Date(), missing, listing, explanation };
    ctx.status = Object.keys(question.mistakes).length === 0 ? 200 : 400;
    ctx.set(HEADERS);
    ctx.type = isData ? 'application/json' : 'text/html; charset=utf-8';
    ctx.body = isData
      ? `${JSON.stringify(statusDocument(state), undefined, 2)}\n`
      : renderStatus({ ...state, question }).toString();
  };
}

/** Redirects the root to the status page. */
export const toStatus: Middleware = (ctx) => {
  ctx.set('Cache-Control', 'no-store');
  ctx.redirect('/status');
  ctx.status = 307;
  ctx.type = 'text/plain; charset=utf-8';
  ctx.body = 'see /status\n';
};

async function soon(check: ReadinessCheck): ReturnType<ReadinessCheck> {
  const { promise: late, resolve } = Promise.withResolvers<string>();
  const timer = setTimeout(resolve, CHECK_TIMEOUT_MS, 'a readiness check does not answer');
  try {
    return await Promise.race([check(), late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Resolves with the reason why the service is not ready, in words for an operator; undefined if it is ready. */
export type ReadinessCheck = () => Promise<string | undefined>;

export function readiness(checks: readonly ReadinessCheck[]): Middleware {
  return async (ctx) => {
    const missing = (await Promise.all(checks.map((check) => check()))).filter((reason) => reason !== undefined);
    ctx.status = missing.length === 0 ? 200 : 503;
    ctx.set('Cache-Control', 'no-store');
    ctx.type = 'text/plain; charset=utf-8';
    ctx.body = missing.length === 0 ? 'ok' : `${missing.join('\n')}\n`;
  };
}
