/** Binds the provider of registries and their credentials. */
import { ContainerModule } from 'inversify';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { openClusterAccess } from '../../adapters/kubernetes/cluster-access.ts';
import {
  clusterResources,
  KubernetesCredentialProvider,
  type ProviderEvent,
} from '../../adapters/kubernetes/kubernetes-credential-provider.ts';
import { RefusalEvents } from '../../adapters/kubernetes/refusal-events.ts';
import { toAll } from '../../adapters/observers/observed-ports.ts';
import { informerMetrics } from '../../adapters/prometheus/optional-metrics.ts';
import { StaticCredentialProvider } from '../../adapters/static/static-credential-provider.ts';
import { mistakeOf } from '../../domain/credential.ts';
import type { Component } from '../lifecycle.ts';
import type { Settings } from '../settings.ts';
import { watchLog } from '../../adapters/log/event-log.ts';
import { type ContainerInputs, T } from './tokens.ts';

export function credentialsModule({
  settings: { credentials },
  logger,
  environment,
}: ContainerInputs): ContainerModule {
  return new ContainerModule(({ bind }) => {
    switch (credentials.source) {
      case 'static': {
        for (const { upstream } of credentials.registries) {
          const reason = mistakeOf(upstream.registry.credential);
          if (reason !== undefined)
            logger.warn({ registry: upstream.registry.host, reason }, 'credential of a registry looks like a mistake');
        }
        const provider = new StaticCredentialProvider(credentials.registries, {
          onUnusable: (registry, reason) => {
            logger.warn({ registry, reason }, 'file of a registry cannot be used');
          },
        });
        bind(T.CREDENTIAL_PROVIDER).toConstantValue(provider);
        bind(T.CREDENTIAL_INSPECTION).toConstantValue(provider);
        bind(T.CREDENTIALS_COMPONENT).toConstantValue({});
        bind(T.PACKAGE_REPOSITORIES).toConstantValue(new StaticCredentialProvider([]));
        break;
      }
      case 'kubernetes':
        bind(T.WATCHED_CREDENTIALS).toResolvedValue(
          (metrics) => watchCluster(credentials.kubernetes, environment, logger, metrics),
          [T.METRICS],
        );
        bind(T.CREDENTIAL_PROVIDER).toResolvedValue((provider) => provider, [T.WATCHED_CREDENTIALS]);
        bind(T.CREDENTIAL_INSPECTION).toResolvedValue((provider) => provider, [T.WATCHED_CREDENTIALS]);
        bind(T.CREDENTIALS_COMPONENT).toResolvedValue(credentialsComponent, [T.WATCHED_CREDENTIALS]);
        bind(T.PACKAGE_REPOSITORIES).toResolvedValue(
          (provider) => provider.packageRepositories,
          [T.WATCHED_CREDENTIALS],
        );
    }
  });
}

function watchCluster(
  { kubeconfig, secret, events, agent }: Settings['credentials']['kubernetes'],
  environment: ContainerInputs['environment'],
  logger: Logger,
  metrics: Registry,
): KubernetesCredentialProvider {
  const access = openClusterAccess(kubeconfig === '' ? undefined : kubeconfig, environment);
  const sources = clusterResources(access, secret);
  const observers: ((event: ProviderEvent) => void)[] = [
    watchLog(logger),
    informerMetrics(metrics, Object.keys(sources)),
  ];
  if (events) {
    const refusals = new RefusalEvents({
      access,
      secretNamespace: secret.namespace,
      onError: (resource, object, err) => {
        logger.warn({ resource, object, err }, 'event cannot be written');
      },
    });
    observers.push((event) => {
      refusals.observe(event);
    });
  }
  return new KubernetesCredentialProvider({
    sources,
    onEvent: toAll(observers),
    agent: {
      ...agent,
      onUnusableCa: (reason) => {
        logger.warn({ file: agent.ca, reason }, 'CA of the registry agent cannot be used');
      },
    },
  });
}

function credentialsComponent(provider: KubernetesCredentialProvider): Component {
  return {
    start: () => {
      provider.start();
      return Promise.resolve();
    },
    stop: () => provider.stop(),
    notReady: () => {
      const { pending } = provider;
      return Promise.resolve(pending.length === 0 ? undefined : `not listed yet: ${pending.join(', ')}`);
    },
  };
}
