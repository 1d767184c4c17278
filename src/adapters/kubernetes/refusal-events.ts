/** Creates a Kubernetes Event for an object that cannot be used; `kubectl describe` of the object shows it. */
import { createConfiguration, HttpMethod, RequestContext } from '@kubernetes/client-node';
import { createHash } from 'node:crypto';
import type { ClusterAccess } from './cluster-access.ts';
import type { ProviderEvent, ResourceName } from './kubernetes-credential-provider.ts';
import { ApiStatusError } from './object-source.ts';

/** The object that an Event concerns (core/v1 ObjectReference), without its name. */
interface Involved {
  readonly apiVersion: string;
  readonly kind: string;
  readonly namespace?: string;
}

interface RefusalEventsOptions {
  readonly access: ClusterAccess;
  /** The namespace of the Secret of the default registry. */
  readonly secretNamespace: string;
  readonly onError: (resource: ResourceName, object: string, error: unknown) => void;
}

const TIMEOUT_MS = 5000;
const COMPONENT = 'registry-packages-proxy';

export class RefusalEvents {
  readonly #access: ClusterAccess;
  readonly #involved: Readonly<Record<ResourceName, Involved>>;
  readonly #onError: RefusalEventsOptions['onError'];

  constructor({ access, secretNamespace, onError }: RefusalEventsOptions) {
    this.#access = access;
    this.#involved = {
      modulesources: { apiVersion: 'deckhouse.io/v1alpha1', kind: 'ModuleSource' },
      secrets: { apiVersion: 'v1', kind: 'Secret', namespace: secretNamespace },
      configmaps: { apiVersion: 'v1', kind: 'ConfigMap', namespace: secretNamespace },
      storagesecrets: { apiVersion: 'v1', kind: 'Secret', namespace: secretNamespace },
      packagerepositories: { apiVersion: 'deckhouse.io/v1alpha1', kind: 'PackageRepository' },
    };
    this.#onError = onError;
  }

  /** Ignores events that do not refuse an object; never throws. */
  observe(event: ProviderEvent): void {
    if (event.kind !== 'invalid' && event.kind !== 'conflict') return;
    const { resource, object, uid } = event;
    const [reason, message] =
      event.kind === 'invalid'
        ? ['RegistryInvalid', `cannot be used; its previous state stays in use: ${event.error.message}`]
        : ['RegistryConflict', `${nameOf(event.repository)} belongs to ${event.winner}`];
    this.#write(this.#involved[resource], { object, uid, reason, message }).catch((error: unknown) => {
      this.#onError(resource, object, error);
    });
  }

  async #write(
    involved: Involved,
    { object, uid, reason, message }: Readonly<Record<'object' | 'uid' | 'reason' | 'message', string>>,
  ): Promise<void> {
    // Events about objects without a namespace must be in this namespace.
    const { namespace = 'default' } = involved;
    const now = new Date().toISOString();
    const body = {
      apiVersion: 'v1',
      kind: 'Event',
      // The name is the same for all replicas and after a restart, so there is only one Event.
      metadata: { name: `${object}.${digestOf(`${uid} ${reason} ${message}`)}`, namespace },
      involvedObject: { ...involved, name: object, uid },
      reason,
      message,
      type: 'Warning',
      source: { component: COMPONENT },
      firstTimestamp: now,
      lastTimestamp: now,
      count: 1,
    };
    const config = await this.#access.config();
    const url = `${config.getCurrentCluster()?.server ?? ''}/api/v1/namespaces/${namespace}/events`;
    const request = new RequestContext(url, HttpMethod.POST);
    request.setHeaderParam('content-type', 'application/json');
    request.setBody(JSON.stringify(body));
    await config.applySecurityAuthentication(request);
    request.setSignal(AbortSignal.timeout(TIMEOUT_MS));
    const response = await createConfiguration().httpApi.send(request).toPromise();
    await response.body.text();
    if (response.httpStatusCode === 401) this.#access.refused();
    if (response.httpStatusCode !== 201 && response.httpStatusCode !== 409) {
      throw new ApiStatusError(response.httpStatusCode);
    }
  }
}

function nameOf(repository: string): string {
  return repository === '' ? 'the default registry' : repository;
}

function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}
