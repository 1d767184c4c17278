/** Spans by OpenTelemetry: `node --import ./opentelemetry.mjs dist/start.mjs …`. docs/opentelemetry.md says what that needs. */
import { HttpInstrumentation } from '@opentelemetry/instrumentation-http';
import { NodeSDK } from '@opentelemetry/sdk-node';
import { IncomingMessage } from 'node:http';
import { createRequire, syncBuiltinESMExports } from 'node:module';
import { isMainThread } from 'node:worker_threads';

/** Asked every few seconds by machines. */
const PROBES = new Set(['/healthz', '/readyz', '/metrics']);
/** At the end of the process, for spans that have not been sent. */
const FLUSH_MS = 2000;

// Node loads this file into the thread that hashes, too.
if (isMainThread) start();

function start() {
  process.env.OTEL_SERVICE_NAME ??= 'registry-packages-proxy';
  // They are at /metrics and on standard output.
  process.env.OTEL_METRICS_EXPORTER ??= 'none';
  process.env.OTEL_LOGS_EXPORTER ??= 'none';
  const http = new HttpInstrumentation({
    ignoreIncomingRequestHook: ({ url }) => PROBES.has(url),
    requestHook: (span, request) => {
      if (request instanceof IncomingMessage) request.headers.traceparent = traceparentOf(span.spanContext());
      else forgetQuery(span);
    },
  });
  const sdk = new NodeSDK({ instrumentations: [http] });
  sdk.start();
  // What is imported by name is bound by Node itself: once more, now that it has been instrumented.
  const require = createRequire(import.meta.url);
  require('http');
  require('https');
  syncBuiltinESMExports();
  flushBeforeExit(sdk);
}

/** The service logs the trace that a request names: so that of the span, also when the client has named none. */
function traceparentOf({ traceId, spanId, traceFlags }) {
  return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, '0')}`;
}

/** Storages that registries redirect to are entered by what is signed there. */
function forgetQuery(span) {
  for (const name of ['url.full', 'url.query', 'http.url', 'http.target']) {
    const value = span.attributes?.[name];
    if (typeof value === 'string') span.setAttribute(name, value.split('?', 1)[0]);
  }
}

/** The service ends by process.exit, which does not wait. */
function flushBeforeExit(sdk) {
  const { exit } = process;
  process.exit = (code) => {
    const patience = new Promise((resolve) => setTimeout(resolve, FLUSH_MS));
    void Promise.race([sdk.shutdown(), patience]).finally(() => exit.call(process, code));
  };
}
