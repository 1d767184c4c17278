/** Lists and watches one kind of object (Kubernetes API concepts, "Efficient detection of changes"). */
import { createConfiguration, HttpMethod, RequestContext, type ResponseContext, Watch } from '@kubernetes/client-node';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { asObject } from '../../domain/descriptor.ts';
import type { ClusterAccess } from './cluster-access.ts';
import { ListReader } from './list-reader.ts';

/** An object as received; the parser of its kind checks it. */
export type RawObject = Readonly<Record<string, unknown>>;

interface ObjectList {
  readonly items: readonly RawObject[];
  readonly resourceVersion: string;
}

export interface WatchEvent {
  readonly type: string;
  readonly object: RawObject;
}

/** The API server answered with an unexpected status. */
export class ApiStatusError extends Error {
  override readonly name = 'ApiStatusError';
  readonly status: number;
  constructor(status: number) {
    super(`Kubernetes API answered ${String(status)}`);
    this.status = status;
  }
}

/** The discovery documents of the API server do not contain this kind. */
export class KindAbsentError extends Error {
  override readonly name = 'KindAbsentError';
  constructor(path: string) {
    super(`Kubernetes API does not serve ${path}`);
  }
}

/** The kind of objects that a source lists. */
interface Resource {
  /** `ModuleSource`; a list of it is a `ModuleSourceList`. */
  readonly kind: string;
  /** `/apis/<group>/<version>/<plural>` or `/api/v1/…`. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
}

export interface ObjectSource {
  /**
   * Calls `onItem` for each object as it arrives, with pauses for other work of the process. Rejects with KindAbsentError,
   * ApiStatusError, or the error of the connection.
   */
  list(signal: AbortSignal, onItem?: (item: RawObject) => void): Promise<ObjectList>;
  /** Calls `onEvent`, which must not throw, for events after `resourceVersion` until the watch ends. Rejects as `list` does. */
  watch(resourceVersion: string, onEvent: (event: WatchEvent) => void, signal: AbortSignal): Promise<void>;
}

/** A list of credentials is small; a server that needs longer counts as unreachable. */
const LIST_TIMEOUT_MS = 15_000;
/** After this time of work on a list, other work gets its turn. */
const TURN_MS = 5;
/**
 * The server ends a watch after this time, with a bookmark shortly before. The client library ends a connection that is silent
 * for 30 s, and a watch is silent most of the time.
 */
const WATCH_TIMEOUT_SECONDS = 25;

export class ApiObjectSource implements ObjectSource {
  readonly #access: ClusterAccess;
  readonly #resource: Resource;

  constructor(access: ClusterAccess, resource: Resource) {
    this.#access = access;
    this.#resource = resource;
  }

  async list(signal: AbortSignal, onItem?: (item: RawObject) => void): Promise<ObjectList> {
    const { kind, path, query = {} } = this.#resource;
    const bounded = AbortSignal.any([signal, AbortSignal.timeout(LIST_TIMEOUT_MS)]);
    const response = await this.#send(path, query, bounded).catch(async (error: unknown) => {
      if (isStatus(error, 404) && (await this.#isAbsent(bounded))) throw new KindAbsentError(path);
      throw error;
    });
    const items: RawObject[] = [];
    const reader = new ListReader((item) => {
      items.push(item);
      onItem?.(item);
    });
    await inTurns(chunksOf(response), (chunk) => {
      reader.push(chunk);
    });
    const document = reader.end();
    // A load balancer may answer 200 with another document. kubectl and proxies use the kind "List" for several objects.
    if (document['kind'] !== `${kind}List` && document['kind'] !== 'List')
      throw new TypeError(`list is not a ${kind}List`);
    const { resourceVersion } = asObject(document['metadata'], "list's metadata");
    // As null some servers wrote a list without objects (Kubernetes 1.5, 1.18): Go's own way.
    const hasItems = Array.isArray(document['items']) || document['items'] === null;
    if (!hasItems || typeof resourceVersion !== 'string') throw new TypeError('list without items');
    return { items, resourceVersion };
  }

  /**
   * An API server answers 404 as plain text for an unknown kind, but a load balancer before it can do the same. The discovery
   * documents show which of them answered. The core group is always served.
   */
  async #isAbsent(signal: AbortSignal): Promise<boolean> {
    const [, root, group, version, plural] = this.#resource.path.split('/');
    if (root !== 'apis') return false;
    const { kind, groups } = await this.#get('/apis', {}, signal);
    if (kind !== 'APIGroupList' || !Array.isArray(groups)) return false;
    const served = groups.map((each) => asObject(each, 'group')).find(({ name }) => name === group);
    const versions = Array.isArray(served?.['versions']) ? served['versions'] : [];
    if (!versions.some((each) => asObject(each, 'version')['version'] === version)) return true;
    const list = await this.#get(`/apis/${String(group)}/${String(version)}`, {}, signal);
    if (list['kind'] !== 'APIResourceList' || !Array.isArray(list['resources'])) return false;
    return !list['resources'].some((each) => asObject(each, 'resource')['name'] === plural);
  }

  async #get(
    path: string,
    query: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<Record<string, unknown>> {
    const response = await this.#send(path, query, signal);
    return asObject(JSON.parse(await response.body.text()), 'answer');
  }

  /** Resolves with the answer before its body is read. */
  async #send(path: string, query: Readonly<Record<string, string>>, signal: AbortSignal): Promise<ResponseContext> {
    const config = await this.#access.config();
    const url = new URL(`${config.getCurrentCluster()?.server ?? ''}${path}`);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    const request = new RequestContext(url.href, HttpMethod.GET);
    await unlessAborted(config.applySecurityAuthentication(request), signal);
    request.setSignal(signal);
    const response = await createConfiguration().httpApi.send(request).toPromise();
    if (response.httpStatusCode === 200) return response;
    await response.body.text();
    throw this.#refusal(response.httpStatusCode);
  }

  #refusal(status: number): ApiStatusError {
    if (status === 401) this.#access.refused();
    return new ApiStatusError(status);
  }

  async watch(resourceVersion: string, onEvent: (event: WatchEvent) => void, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<undefined>();
    const query = {
      ...this.#resource.query,
      resourceVersion,
      allowWatchBookmarks: 'true',
      timeoutSeconds: String(WATCH_TIMEOUT_SECONDS),
    };
    const onData = (type: string, object: unknown): void => {
      onEvent({ type, object: asObject(object, 'event') });
    };
    const onDone = (error: unknown): void => {
      if (error === null || error === undefined) resolve(undefined);
      else reject(this.#translate(error));
    };
    const opening = new Watch(await this.#access.config()).watch(this.#resource.path, query, onData, onDone);
    opening.catch(onDone);
    // The library cannot abort a request before the server begins to answer, which can take 30 s.
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

  #translate(error: unknown): Error {
    if (error instanceof Error && 'statusCode' in error && typeof error.statusCode === 'number') {
      return this.#refusal(error.statusCode);
    }
    return error instanceof Error ? error : new Error('watch failed');
  }
}

function chunksOf({ body }: ResponseContext): AsyncIterable<Uint8Array> {
  const stream = body.stream() as AsyncIterable<Uint8Array> | null | undefined;
  if (stream === undefined || stream === null) throw new TypeError('answer without a body');
  return stream;
}

/** Processes the chunks with pauses; otherwise all available chunks would be processed in one turn of the event loop. */
async function inTurns(chunks: AsyncIterable<Uint8Array>, work: (chunk: Uint8Array) => void): Promise<void> {
  let began = performance.now();
  for await (const chunk of chunks) {
    work(chunk);
    if (performance.now() - began < TURN_MS) continue;
    await nextTurn();
    began = performance.now();
  }
}

function isStatus(error: unknown, status: number): boolean {
  return error instanceof ApiStatusError && error.status === status;
}

/** Stops waiting when the signal aborts, because a credential plugin can take longer than the grace period of a stop. */
function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      reject(signal.reason as Error);
    };
    signal.addEventListener('abort', abort, { once: true });
    void work.then(resolve, reject).finally(() => {
      signal.removeEventListener('abort', abort);
    });
  });
}
