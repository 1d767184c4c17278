/** The HTTP interface: what every request goes through, and where it goes. */
import { Router } from '@koa/router';
import Koa from 'koa';
import type { ExplainPackage } from '../../application/explain-package.ts';
import type { Admission } from './server/admission.ts';
import { admitted } from './server/send-blob.ts';
import { errorResponses, RefusedError } from './server/problem.ts';
import { explainRoute } from './package/explain-route.ts';
import { allowedHosts, isSafe, strictRequests } from './server/strict-requests.ts';
import { type IconRoute, iconRoute, iconRouteOf } from './icons/icon-route.ts';
import { imagesRouteOf, type ImagesRoutes, imagesRoutes } from './images/images-routes.ts';
import { manifestRoute, packageRoute, type PackageUseCases } from './package/package-route.ts';
import { readiness, type ReadinessCheck, type StatusOptions, statusRoute } from './status/status-route.ts';
import { recordRequests, type RequestObserver, type RequestState } from './server/request-record.ts';

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
  readonly observers: readonly RequestObserver[];
}

const ROUTES: ReadonlySet<string> = new Set([
  '/package',
  '/manifest',
  '/explain',
  '/healthz',
  '/readyz',
  '/metrics',
  '/status',
]);

export function createHttpApp(options: HttpAppOptions): Koa<RequestState> {
  const app = new Koa<RequestState>();
  // Every error has its response and its log line by errorResponses; what Koa emits besides is the same error again.
  app.on('error', () => undefined);
  const routeOf = (path: string): string =>
    ROUTES.has(path) ? path : (imagesRouteOf(path) ?? iconRouteOf(path) ?? 'other');
  app.use(recordRequests(routeOf, options.observers));
  app.use(errorResponses());
  app.use(strictRequests());
  const images = imagesRoutes(options);
  const icons = iconRoute(options);
  app.use(async (ctx, next) => {
    // Exact and unnormalized, as the sidecar compares them (so `//healthz` is not `/healthz`).
    if (!ROUTES.has(ctx.path)) {
      await images(ctx, async () => {
        await icons(ctx, unknownPage);
      });
      return;
    }
    if (!isSafe(ctx.method)) throw new RefusedError('METHOD_UNSUPPORTED', 'method not allowed', { Allow: 'GET, HEAD' });
    await next();
  });
  const router = new Router<RequestState>({ strict: true, sensitive: true });
  const { packages, admission } = options;
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
  app.use(router.routes());
  return app;
}

function unknownPage(): Promise<never> {
  return Promise.reject(new RefusedError('PAGE_UNKNOWN', 'page not found'));
}
