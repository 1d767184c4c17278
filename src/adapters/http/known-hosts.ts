/** Who a page for people answers to: a name that somebody else can point here makes his script one of our own origin. */
import type { Middleware } from 'koa';
import { RefusedError } from './problem.ts';

/**
 * An address, which nobody can point elsewhere, a name that is this very machine (RFC 6761 section 6.3), or that of a Service,
 * by which the sidecar is asked: `svc` is a domain that nobody can have, and `local` is not the DNS' (RFC 6762 section 3).
 * Whoever answers an operator's questions to the DNS can point a Service's name at his machine, too, so such a name has no
 * port but those of HTTPS and of the sidecar, whose certificate he lacks: behind others may be a `kubectl port-forward`.
 */
const KNOWN =
  /^(?:(?:\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:.]+\]|(?:[a-z0-9-]+\.)*localhost)(?::\d*)?|(?:[a-z0-9-]+\.){2}svc(?:\.cluster\.local)?(?::(?:443|4219))?)$/i;

/** Browsers always say which host they mean; with `kubectl port-forward` it is localhost. */
export function knownHosts(): Middleware {
  return async (ctx, next) => {
    const { host } = ctx.req.headers;
    if (host !== undefined && !KNOWN.test(host)) {
      throw new RefusedError(
        'REQUEST_INVALID',
        'this page is for localhost, IP addresses and Services (….svc, at 443 or 4219), for no other host name',
      );
    }
    await next();
  };
}
