/** The one place where an error becomes an HTTP response. */
import type { Context, Middleware } from 'koa';
import { type Problem, problemOf } from './problem.ts';
import type { RequestState } from './request-record.ts';

/** The part of an error body that scripts on nodes print. */
const MAX_BODY_BYTES = 255;

/** Answers errors that come before the headers. After them the sender ends the connection. */
export function errorResponses(): Middleware<RequestState> {
  return async (ctx, next) => {
    try {
      await next();
    } catch (error) {
      ctx.state.record.error = error;
      if (ctx.headerSent || ctx.res.destroyed) ctx.res.destroy();
      else respond(ctx, problemOf(error), ctx.state.record.id);
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
