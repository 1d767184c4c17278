/** GET /readyz: whether requests should be sent here now, and if not, why not. */
import type { Middleware } from 'koa';

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
