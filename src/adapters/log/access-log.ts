/** One line for each request, with all that is known of it and nothing that a client wrote unchecked. */
import type { Logger } from 'pino';
import type { FinishedRequest, RequestObserver } from '../http/server/request-record.ts';

/** Asked every few seconds by machines, or by a page that is open; of interest only when the answer is no. */
const PROBES: ReadonlySet<string> = new Set(['/healthz', '/readyz', '/metrics', '/status']);

export function accessLog(logger: Logger): RequestObserver {
  return (request) => {
    const { id, trace, client, connected, method, route, status, seconds, bytes, cache, error } = request;
    logger[levelOf(request)](
      {
        request_id: id,
        trace_id: trace.traceId,
        span_id: trace.spanId,
        client,
        connected,
        method,
        route,
        status,
        duration_ms: Math.round(seconds * 1000),
        bytes,
        ...request.package,
        cache: cache?.kind,
        err: error,
      },
      'request',
    );
  };
}

function levelOf({ status, route }: FinishedRequest): 'debug' | 'info' | 'warn' | 'error' {
  if (status === 500) return 'error';
  if (status > 500) return 'warn';
  return status < 400 && PROBES.has(route) ? 'debug' : 'info';
}
