/** GET /status, a page for people, and GET /readyz: the state of the service and the reasons why it is not ready. */
import type { Middleware } from 'koa';
import type { ExplainPackage } from '../../../application/explain-package.ts';
import type { Inspection } from './parts.ts';
import { PACKAGE_PARAMETERS, readParameters } from '../package/package-query.ts';
import { parseQuestion } from './explain-section.ts';
import { CONTENT_SECURITY_POLICY, renderStatus } from './status-page.ts';

export interface StatusOptions {
  readonly version: string;
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
};

/** A disk that hangs answers no check, and then this page is wanted most. */
const CHECK_TIMEOUT_MS = 2000;

/** With the query of /package, its explanation, too. */
export function statusRoute(
  status: StatusOptions,
  explain: Pick<ExplainPackage, 'execute'>,
  checks: readonly ReadinessCheck[],
): Middleware {
  return async (ctx) => {
    const question = parseQuestion(readParameters(ctx.querystring, PACKAGE_PARAMETERS));
    const explanation = question.request && (await explain.execute(question.request));
    const missing = (await Promise.all(checks.map(soon))).filter((reason) => reason !== undefined);
    ctx.status = Object.keys(question.mistakes).length === 0 ? 200 : 400;
    ctx.set(HEADERS);
    ctx.type = 'text/html; charset=utf-8';
    ctx.body = renderStatus({ ...status, now: new Date(), missing, question, explanation }).toString();
  };
}

async function soon(check: ReadinessCheck): ReturnType<ReadinessCheck> {
  const { promise: late, resolve } = Promise.withResolvers<string>();
  const timer = setTimeout(resolve, CHECK_TIMEOUT_MS, 'a readiness check does not answer');
  try {
    return await Promise.race([check(), late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Resolves with what is missing, in words for an operator; undefined when nothing is. */
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
