/** The HTTP interface: what every request goes through, and where it goes. */
import { Router } from '@koa/router';
import Koa, { type Middleware } from 'koa';
import type { ExplainPackage } from '../../application/explain-package.ts';
import type { Admission } from './server/admission.ts';
import { admitted } from './server/send-blob.ts';
import { errorResponses, RefusedError, type WriteProblem } from './server/problem.ts';
import { explainRoute } from './package/explain-route.ts';
import { allowedHosts, expectSafe, strictRequests } from './server/strict-requests.ts';
import { isIconTarget } from './icons/icon-path.ts';
import { type IconRoute, iconRoute, iconRouteOf } from './icons/icon-route.ts';
import { isImagesTarget } from './images/images-path.ts';
import { imagesRouteOf, type ImagesRoutes, imagesRoutes } from './images/images-routes.ts';
import { manifestRoute, packageRoute, type PackageUseCases } from './package/package-route.ts';
import { readiness, type ReadinessCheck, type StatusOptions, statusRoute, toStatus } from './status/status-route.ts';
import { recordRequests, type RequestObserver, type RequestState } from './server/request-record.ts';

/** Paths below a prefix. */
export interface Feature {
  /** Whether the request target, with or without its query, is one of the feature. */
  readonly owns: (target: string) => boolean;
  /** Writes the answer to a request of the feature that fails, if it has a form of its own. */
  readonly writeError?: WriteProblem;
  /** The name of the route for metrics and the log; undefined for a path of another feature, or of none. */
  readonly routeOf: (path: string) => string | undefined;
  /** Answers the requests of the feature. */
  readonly routes: Middleware<RequestState>;
}

interface HttpAppOptions {
  readonly packages: PackageUseCases;
  readonly images: ImagesRoutes['images'];
  readonly icons: IconRoute['icons'];
  readonly admission: Admission;
  readonly explain: Pick<ExplainPackage, 'execute'>;
  readonly readiness: readonly ReadinessCheck[];
  /** The exposition of all metrics, and its media type. */
  readonly metrics: () => Promise<{ readonly contentType: string; readonly text: string }>;
  readonly status: StatusOptions;
  /** Undefined where /v2/ is not served. */
  readonly distribution?: Feature | undefined;
  readonly observers: readonly RequestObserver[];
}

const ROUTES: ReadonlySet<string> = new Set([
  '/',
  '/package',
  '/manifest',
  '/explain',
  '/healthz',
  '/readyz',
  '/metrics',
  '/status',
]);

export function createHttpApp(options: HttpAppOptions): Koa<RequestState> {
  const { packages, admission, distribution } = options;
  const app = new Koa<RequestState>();
  // Every error has its response and its log line by errorResponses; what Koa emits besides is the same error again.
  app.on('error', () => undefined);
  const features: readonly Feature[] = [
    { owns: isImagesTarget, routeOf: imagesRouteOf, routes: imagesRoutes(options) },
    { owns: isIconTarget, routeOf: iconRouteOf, routes: iconRoute(options) },
    ...(distribution === undefined ? [] : [distribution]),
  ];
  const ownerOf = (target: string): Feature | undefined => features.find(({ owns }) => owns(target));
  const routeOf = (path: string): string => (ROUTES.has(path) ? path : (ownerOf(path)?.routeOf(path) ?? 'other'));
  app.use(recordRequests(routeOf, options.observers));
  app.use(errorResponses((target) => ownerOf(target)?.writeError));
  app.use(strictRequests());
  app.use(async (ctx, next) => {
    // Exact and unnormalized, as the sidecar compares them (so `//healthz` is not `/healthz`).
    if (!ROUTES.has(ctx.path)) {
      const feature = ownerOf(ctx.url);
      if (feature === undefined) throw unknownPage(ctx.path);
      await feature.routes(ctx, next);
      return;
    }
    expectSafe(ctx.method);
    await next();
  });
  const router = new Router<RequestState>({ strict: true, sensitive: true });
  router.get('/package', admitted(admission), packageRoute(packages.get, admission));
  router.get('/manifest', admitted(admission), manifestRoute(packages.manifests, admission));
  router.get('/explain', allowedHosts(), explainRoute(options.explain));
  router.get('/healthz', (ctx) => {
    ctx.body = 'ok';
  });
  router.get('/readyz', readiness(options.readiness));
  router.get('/metrics', async (ctx) => {
    const { contentType, text } = await options.metrics();
    ctx.set('Content-Type', contentType);
    ctx.body = text;
  });
  router.get('/status', allowedHosts(), statusRoute(options.status, options.explain, options.readiness));
  router.get('/', allowedHosts(), toStatus);
  app.use(router.routes());
  return app;
}

/** A container runtime shows no more than the status, so the log has the setting. */
function unknownPage(path: string): RefusedError {
  return /^\/v2(?:\/|$)/.test(path)
    ? new RefusedError('PAGE_UNKNOWN', 'page not found: /v2/ is not served (server.distribution.enabled)')
    : new RefusedError('PAGE_UNKNOWN', 'page not found');
}
