/** The HTTP interface: the middleware of all requests, and the routes. */
import { Router } from '@koa/router';
import Koa from 'koa';
import type { ExplainPackage } from '../../application/explain-package.ts';
import type { Admission } from './server/admission.ts';
import { admitted } from './server/send-blob.ts';
import { errorResponses, RefusedError } from './server/problem.ts';
import { explainRoute } from './package/explain-route.ts';
import { allowedHosts, expectSafe, strictRequests, wholeUrls } from './server/strict-requests.ts';
import { iconFeature, type IconRoute } from './icons/icon-route.ts';
import { imagesFeature, type ImagesRoutes } from './images/images-routes.ts';
import { manifestRoute, packageRoute, type PackageUseCases } from './package/package-route.ts';
import { readiness, type ReadinessCheck, type StatusOptions, statusRoute, toStatus } from './status/status-route.ts';
import { type Feature, recordRequests, type RequestObserver, type RequestState } from './server/request-record.ts';

interface HttpAppOptions {
  readonly packages: PackageUseCases;
  readonly images: ImagesRoutes['images'];
  readonly icons: IconRoute['icons'];
  readonly admission: Admission;
  readonly explain: Pick<ExplainPackage, 'execute'>;
  readonly readiness: readonly ReadinessCheck[];
  /** Resolves with the exposition of all metrics and its media type. */
  readonly metrics: () => Promise<{ readonly contentType: string; readonly text: string }>;
  readonly status: StatusOptions;
  /** Undefined if /v2/ is not served. */
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
  // errorResponses gives each error its response and its log line; Koa emits the same error again.
  app.on('error', () => undefined);
  const features: readonly Feature[] = [
    imagesFeature(options),
    iconFeature(options),
    ...(distribution === undefined ? [] : [distribution]),
  ];
  const ownerOf = (target: string): Feature | undefined => features.find(({ owns }) => owns(target));
  const routeOf = (path: string): string => (ROUTES.has(path) ? path : (ownerOf(path)?.routeOf(path) ?? 'other'));
  app.use(wholeUrls());
  app.use(recordRequests(routeOf, options.observers));
  app.use(errorResponses((target) => ownerOf(target)?.writeError));
  app.use(strictRequests());
  app.use(async (ctx, next) => {
    // The path is compared exactly, without normalization, as the sidecar does (so `//healthz` is not `/healthz`).
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

/** Names the setting for the log, because a container runtime shows only the status. */
function unknownPage(path: string): RefusedError {
  return /^\/v2(?:\/|$)/.test(path)
    ? new RefusedError('PAGE_UNKNOWN', 'page not found: /v2/ is not served (server.distribution.enabled)')
    : new RefusedError('PAGE_UNKNOWN', 'page not found');
}
