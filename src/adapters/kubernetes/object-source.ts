/** One kind of object at the Kubernetes API: a list of it, and what becomes of the list (API concepts, "Efficient detection of changes"). */
import { createConfiguration, HttpMethod, RequestContext, type ResponseContext, Watch } from '@kubernetes/client-node';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { asObject } from '../../domain/descriptor.ts';
import type { ClusterAccess } from './cluster-access.ts';
import { ListReader } from './list-reader.ts';

/** The object as received; the parser of its kind checks it. */
export type RawObject = Readonly<Record<string, unknown>>;

interface ObjectList {
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

/** The API server lists what it serves, and this kind is not part of it. */
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
   * Gives each object to `onItem` as it arrives, between pauses in which the process does its other work. Rejects with
   * KindAbsentError, ApiStatusError, or the error of the connection.
   */
  list(signal: AbortSignal, onItem?: (item: RawObject) => void): Promise<ObjectList>;
  /** Events after `resourceVersion`, until the server ends them. Rejects as `list` does; `onEvent` must not throw. */
  watch(resourceVersion: string, onEvent: (event: WatchEvent) => void, signal: AbortSignal): Promise<void>;
}

/** A list of credentials is small; a server that needs longer is away. */
const LIST_TIMEOUT_MS = 15_000;
/** Of work on a list, before other work has its turn. */
const TURN_MS = 5;
/**
 * The server ends a watch after this, with a bookmark shortly before: sooner than the client library takes 30 s of silence
 * for a connection that is dead, and silence is what there is most of the time.
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
    // A balancer or a mock may answer 200 with another document; "List" is what kubectl and proxies make of several.
    if (document['kind'] !== `${kind}List` && document['kind'] !== 'List')
      throw new TypeError(`list is no ${kind}List`);
    const { resourceVersion } = asObject(document['metadata'], "list's metadata");
    if (!Array.isArray(document['items']) || typeof resourceVersion !== 'string')
      throw new TypeError('list without items');
    return { items, resourceVersion };
  }

  /**
   * An API server answers 404 as plain text for a kind that it does not know, and so does any balancer before it. The
   * discovery documents tell the two apart. The core group is always served.
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

  /** The answer, its body not read yet. */
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

/** Chunks that are there already would all be worked on in one turn of the event loop. */
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

/** A credential plugin can need longer than a stopping process may wait. */
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
