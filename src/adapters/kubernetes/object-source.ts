/** One kind of object at the Kubernetes API: a list of it, and what becomes of the list (API concepts, "Efficient detection of changes"). */
import { createConfiguration, HttpMethod, type KubeConfig, RequestContext, Watch } from '@kubernetes/client-node';
import { asObject } from '../../domain/descriptor.ts';

/** As it came: checked by whoever knows the kind. */
export type RawObject = Readonly<Record<string, unknown>>;

export interface ObjectList {
  readonly items: readonly RawObject[];
  readonly resourceVersion: string;
}

export interface WatchEvent {
  readonly type: string;
  readonly object: RawObject;
}

/** The API answered, but not with what was asked for. */
export class ApiStatusError extends Error {
  override readonly name = 'ApiStatusError';
  readonly status: number;
  constructor(status: number) {
    super(`Kubernetes API answered ${String(status)}`);
    this.status = status;
  }
}

export interface ObjectSource {
  /** Rejects with ApiStatusError, or with whatever keeps the answer from coming. */
  list(signal: AbortSignal): Promise<ObjectList>;
  /** Events after `resourceVersion`, until the server ends them. Rejects as `list` does; `onEvent` must not throw. */
  watch(resourceVersion: string, onEvent: (event: WatchEvent) => void, signal: AbortSignal): Promise<void>;
}

/** A list of credentials is small; a server that needs longer is away. */
const LIST_TIMEOUT_MS = 15_000;
/**
 * The server ends a watch after this, with a bookmark shortly before: sooner than the client library takes 30 s of silence
 * for a connection that is dead, and silence is what there is most of the time.
 */
const WATCH_TIMEOUT_SECONDS = 25;

export class ApiObjectSource implements ObjectSource {
  readonly #config: KubeConfig;
  readonly #path: string;
  readonly #query: Readonly<Record<string, string>>;

  /** `path` as `/apis/<group>/<version>/<plural>`. */
  constructor(config: KubeConfig, path: string, query: Readonly<Record<string, string>> = {}) {
    this.#config = config;
    this.#path = path;
    this.#query = query;
  }

  async list(signal: AbortSignal): Promise<ObjectList> {
    const server = this.#config.getCurrentCluster()?.server ?? '';
    const url = new URL(server + this.#path);
    for (const [name, value] of Object.entries(this.#query)) url.searchParams.set(name, value);
    const request = new RequestContext(url.href, HttpMethod.GET);
    await this.#config.applySecurityAuthentication(request);
    request.setSignal(AbortSignal.any([signal, AbortSignal.timeout(LIST_TIMEOUT_MS)]));
    const response = await createConfiguration().httpApi.send(request).toPromise();
    const text = await response.body.text();
    if (response.httpStatusCode !== 200) throw new ApiStatusError(response.httpStatusCode);
    const { items, metadata } = asObject(JSON.parse(text), 'list');
    const { resourceVersion } = asObject(metadata, "list's metadata");
    if (!Array.isArray(items) || typeof resourceVersion !== 'string') throw new TypeError('list without items');
    return { items: items.map((item) => asObject(item, 'item')), resourceVersion };
  }

  async watch(resourceVersion: string, onEvent: (event: WatchEvent) => void, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<undefined>();
    const query = {
      ...this.#query,
      resourceVersion,
      allowWatchBookmarks: 'true',
      timeoutSeconds: String(WATCH_TIMEOUT_SECONDS),
    };
    const onData = (type: string, object: unknown): void => {
      onEvent({ type, object: asObject(object, 'event') });
    };
    const onDone = (error: unknown): void => {
      if (error === null || error === undefined) resolve(undefined);
      else reject(translate(error));
    };
    const opening = new Watch(this.#config).watch(this.#path, query, onData, onDone);
    opening.catch(onDone);
    // The library gives the connection away only once the server has begun to answer, and that may take it 30 s.
    const abort = (): void => {
      reject(signal.reason as Error);
      opening.then((connection) => {
        connection.abort();
      }, onDone);
    };
    signal.addEventListener('abort', abort);
    try {
      await promise;
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }
}

function translate(error: unknown): Error {
  if (error instanceof Error && 'statusCode' in error && typeof error.statusCode === 'number') {
    return new ApiStatusError(error.statusCode);
  }
  return error instanceof Error ? error : new Error('watch failed');
}
