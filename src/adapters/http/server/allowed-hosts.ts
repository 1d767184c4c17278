/** The host names under which pages for people are served: a name that a stranger points here gives his script our origin. */
import type { Middleware } from 'koa';
import { RefusedError } from './problem.ts';

/**
 * An address, which the DNS cannot point elsewhere, a name of this machine (RFC 6761 section 6.3), or the name of a Service,
 * under which clients reach the sidecar: `svc` is no public domain, and `local` is not in the DNS (RFC 6762 section 3).
 * An attacker that controls an operator's DNS can point a Service's name at his machine, so such a name is allowed with the
 * ports of HTTPS and of the sidecar only, whose certificate he lacks: other ports can be a `kubectl port-forward`.
 */
const KNOWN =
  /^(?:(?:\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:.]+\]|(?:[a-z0-9-]+\.)*localhost)(?::\d*)?|(?:[a-z0-9-]+\.){2}svc(?:\.cluster\.local)?(?::(?:443|4219))?)$/i;

/** Browsers always say which host they mean; with `kubectl port-forward` it is localhost. */
export function allowedHosts(): Middleware {
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
