/** Exports spans by OpenTelemetry: `node --import ./opentelemetry.mjs dist/start.mjs …`. docs/opentelemetry.md lists the requirements. */
import { HttpInstrumentation } from '@opentelemetry/instrumentation-http';
import { NodeSDK } from '@opentelemetry/sdk-node';
import { IncomingMessage } from 'node:http';
import { createRequire, syncBuiltinESMExports } from 'node:module';
import { isMainThread } from 'node:worker_threads';

/** Paths without spans, because machines request them every few seconds. */
const PROBES = new Set(['/healthz', '/readyz', '/metrics']);
/** The time limit at the end of the process for spans that have not been sent. */
const FLUSH_MS = 2000;

// Node also loads this file in the thread that hashes.
if (isMainThread) start();

function start() {
  process.env.OTEL_SERVICE_NAME ??= 'registry-packages-proxy';
  // Metrics are at /metrics and logs are on standard output.
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
  // Updates the named imports of built-in modules, which Node bound before the instrumentation.
  const require = createRequire(import.meta.url);
  require('http');
  require('https');
  syncBuiltinESMExports();
  flushBeforeExit(sdk);
}

/** The service logs the trace of the request header. This sets the header to the trace of the span, also if the client sent none. */
function traceparentOf({ traceId, spanId, traceFlags }) {
  return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, '0')}`;
}

/** Removes the query from URLs, because signed URLs of object storages contain a signature. */
function forgetQuery(span) {
  for (const name of ['url.full', 'url.query', 'http.url', 'http.target']) {
    const value = span.attributes?.[name];
    if (typeof value === 'string') span.setAttribute(name, value.split('?', 1)[0]);
  }
}

/** Sends the remaining spans before the end, because process.exit of the service does not wait. */
function flushBeforeExit(sdk) {
  const { exit } = process;
  process.exit = (code) => {
    const patience = new Promise((resolve) => setTimeout(resolve, FLUSH_MS));
    void Promise.race([sdk.shutdown(), patience]).finally(() => exit.call(process, code));
  };
}
