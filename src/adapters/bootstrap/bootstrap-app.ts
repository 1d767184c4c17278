/** Plain HTTP for a new node: the node downloads the program with which it fetches all packages. */
import Koa, { type Middleware, type ParameterizedContext } from 'koa';
import { createHash, timingSafeEqual } from 'node:crypto';
import type { DeliveredFile, GetLayerFile } from '../../application/get-layer-file.ts';
import { parseDigest } from '../../domain/descriptor.ts';
import { CredentialsPendingError, InvalidArgumentError, isOneOf } from '../../domain/errors.ts';
import { DEFAULT_REPOSITORY } from '../../domain/reference.ts';
import { cacheHeaders, reprDigest } from '../http/package/package-headers.ts';
import { readParameters } from '../http/package/package-query.ts';
import type { Admission } from '../http/server/admission.ts';
import { answerWhole } from '../http/package/package-route.ts';
import { RefusedError } from '../http/server/problem.ts';
import { recordRequests, type RequestObserver, type RequestState } from '../http/server/request-record.ts';
import { wholeUrls } from '../http/server/strict-requests.ts';

/** The name of the served file. */
const FILE = 'rpp-get';
const ROUTE = `/${FILE}`;
/** The time limit of the script on a first node. */
const ANSWER_TIMEOUT_MS = 300_000;
/** A node requests one file. Nodes behind one address wait for each other. */
const MAX_RUNNING_PER_CLIENT = 4;

export interface BootstrapOptions {
  readonly files: Pick<GetLayerFile, 'execute'>;
  /** The first segment of the path, without slashes. If it is empty, the path can be guessed. */
  readonly clusterUUID: string;
  readonly observers: readonly RequestObserver[];
  /** Limits the bodies in progress, together with those of the other port. */
  readonly admission: Admission;
  readonly answerTimeoutMs?: number;
}

type Context = ParameterizedContext<RequestState>;

/** A refusal with the status and the text that the clients of this port know. */
class BootstrapError extends Error {
  override readonly name = 'BootstrapError';
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  constructor(status: number, message: string, headers: BootstrapError['headers'] = {}) {
    super(message);
    this.status = status;
    this.headers = headers;
  }
}

export function createBootstrapApp(options: BootstrapOptions): Koa<RequestState> {
  const { clusterUUID, observers, admission, answerTimeoutMs = ANSWER_TIMEOUT_MS } = options;
  const isRoute = samePath(clusterUUID === '' ? ROUTE : `/${clusterUUID}${ROUTE}`);
  const app = new Koa<RequestState>();
  app.on('error', () => undefined);
  app.use(wholeUrls());
  app.use(recordRequests((path) => (isRoute(path) ? ROUTE : 'other'), observers));
  app.use(errors());
  app.use(bounded());
  app.use(async (ctx) => {
    if (ctx.state.record.route !== ROUTE) throw new BootstrapError(404, '404 page not found');
    if (ctx.method !== 'GET') throw new BootstrapError(405, 'method not allowed', { Allow: 'GET' });
    const { digest } = readParameters(ctx.querystring, ['digest']);
    if (digest === '') throw new InvalidArgumentError('DIGEST_INVALID', 'missing required query parameter "digest"');
    const request = { digest: parseDigest(digest), repository: DEFAULT_REPOSITORY, path: undefined };
    ctx.state.record.package = request;
    const timeout = setTimeout(() => ctx.res.destroy(), answerTimeoutMs);
    try {
      await send(ctx, await options.files.execute(request, FILE), admission);
    } finally {
      clearTimeout(timeout);
    }
  });
  return app;
}

/** Compares in constant time and without decoding, because the UUID is the only secret of the port. */
function samePath(expected: string): (path: string) => boolean {
  const hashOf = (path: string): Buffer => createHash('sha256').update(path).digest();
  const expectedHash = hashOf(expected);
  return (path) => timingSafeEqual(hashOf(path), expectedHash);
}

/** Limits the requests of a client, and refuses a request with a body. */
function bounded(): Middleware<RequestState> {
  const running = new Map<string, number>();
  return async (ctx, next) => {
    const { headers } = ctx.req;
    if ('transfer-encoding' in headers || (headers['content-length'] ?? '0') !== '0') {
      ctx.set('Connection', 'close');
      throw new BootstrapError(400, 'a request must have no body');
    }
    const { connected } = ctx.state.record;
    const others = running.get(connected) ?? 0;
    if (others >= MAX_RUNNING_PER_CLIENT) throw new BootstrapError(503, 'too many requests at a time', RETRY);
    running.set(connected, others + 1);
    try {
      await next();
    } finally {
      const left = (running.get(connected) ?? 1) - 1;
      if (left === 0) running.delete(connected);
      else running.set(connected, left);
    }
  };
}

const RETRY = { 'Retry-After': '1' };
const SAFE = { 'Cache-Control': 'no-store', 'X-Content-Type-Options': 'nosniff' };

async function send(ctx: Context, { file, blob, storedAt }: DeliveredFile, admission: Admission): Promise<void> {
  const { record } = ctx.state;
  record.cache = storedAt && { kind: 'hit', storedAt };
  try {
    await answerWhole(ctx, admission, blob, {
      ...SAFE,
      ...cacheHeaders(record.cache),
      'Content-Type': 'application/octet-stream',
      'Content-Length': String(file.size),
      'Content-Disposition': `attachment; filename="${FILE}"`,
      'Repr-Digest': reprDigest(file.digest),
    });
  } finally {
    await blob.close();
  }
}

function errors(): Middleware<RequestState> {
  return async (ctx, next) => {
    try {
      await next();
    } catch (error) {
      ctx.state.record.error = error;
      if (ctx.headerSent || ctx.res.destroyed) {
        ctx.res.destroy();
        return;
      }
      const { status, message, headers = {} } = answerOf(error);
      ctx.status = status;
      ctx.set({ ...SAFE, ...headers });
      ctx.type = 'text/plain; charset=utf-8';
      ctx.body = `${message}\n`;
    }
  };
}

/** Returns a status that the clients of the Go implementation know: a failure that they cannot repair is a 500. */
function answerOf(
  error: unknown,
): Pick<BootstrapError, 'status' | 'message'> & Partial<Pick<BootstrapError, 'headers'>> {
  if (error instanceof BootstrapError) return error;
  if (error instanceof InvalidArgumentError) return { status: 400, message: error.message };
  if (error instanceof RefusedError) return { status: 503, message: error.message, headers: error.headers };
  if (error instanceof CredentialsPendingError) return { status: 503, message: error.message, headers: RETRY };
  if (isOneOf(error, 'NAME_UNKNOWN', 'MANIFEST_UNKNOWN', 'BLOB_UNKNOWN'))
    return { status: 404, message: 'package not found' };
  return { status: 500, message: 'internal server error' };
}
