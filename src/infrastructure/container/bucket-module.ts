/** The bucket that replicas share, loaded only if the settings name one. */
import { ContainerModule } from 'inversify';
import { bucketLog } from '../../adapters/log/event-log.ts';
import { toAll } from '../../adapters/observers/observed-ports.ts';
import { bucketMetrics } from '../../adapters/prometheus/optional-metrics.ts';
import { SharedBucket } from '../../adapters/s3/shared-bucket.ts';
import { type ModuleInputs, T } from './tokens.ts';

/** @throws Error that names a missing setting */
export function bucketModule(
  { settings: { registry }, logger, environment, version, senders }: ModuleInputs,
  endpoint: URL,
): ContainerModule {
  const { bucket, gateway, timeouts } = registry;
  return new ContainerModule(({ bind }) => {
    bind(T.BUCKET).toResolvedValue(
      (metrics) => {
        const shared = new SharedBucket({
          settings: { ...bucket, endpoint },
          http: {
            connectTimeoutMs: timeouts.connectSeconds * 1000,
            headersTimeoutMs: timeouts.headersSeconds * 1000,
            idleTimeoutMs: timeouts.idleSeconds * 1000,
            // Another source is asked instead of a retry, if there is one.
            retryTimeoutMs: gateway === 'bucket' ? timeouts.retrySeconds * 1000 : 0,
            userAgent: `registry-packages-proxy/${version}`,
            environment,
          },
          senders,
          isWritten: bucket.write && gateway === 'oci',
        });
        shared.observe = toAll([bucketLog(logger, shared.name), bucketMetrics(metrics, () => shared.queued)]);
        return shared;
      },
      [T.METRICS],
    );
  });
}
