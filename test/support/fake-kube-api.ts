/** A Kubernetes API on a loopback socket with four resources, lists, watches, and the faults that a test sets. */
import { KubeConfig } from '@kubernetes/client-node';
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import type { ClusterAccess } from '../../src/adapters/kubernetes/cluster-access.ts';
import type { UpstreamFields } from '../../src/domain/upstream.ts';
import { CA, serverCertificate } from './tls/certificates.ts';

type Resource = 'modulesources' | 'secrets' | 'configmaps' | 'packagerepositories';

interface KubeObject {
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    creationTimestamp: string;
    resourceVersion: string;
  };
  readonly spec?: object;
  readonly data?: object;
}

interface OpenWatch {
  readonly resource: Resource;
  /** The name of the only object that is watched; all of them when absent. */
  readonly name: string | undefined;
  readonly response: ServerResponse;
}

const KINDS: Readonly<Record<Resource, string>> = {
  modulesources: 'ModuleSourceList',
  secrets: 'SecretList',
  configmaps: 'ConfigMapList',
  packagerepositories: 'PackageRepositoryList',
};
const DISCOVERY = /^\/apis(\/deckhouse\.io\/v1alpha1)?$/;

const TOKEN = 'canary-of-the-service-account';

export class FakeKubeApi {
  readonly #server: Server;
  readonly #objects: Record<Resource, Map<string, KubeObject>> = {
    modulesources: new Map(),
    secrets: new Map(),
    configmaps: new Map(),
    packagerepositories: new Map(),
  };
  readonly #history: { resource: Resource; version: number; type: string; object: KubeObject }[] = [];
  readonly #watches = new Set<OpenWatch>();
  readonly #sockets = new Set<Socket>();
  /** Changes up to this version cannot be watched any more. */
  #forgotten = 0;
  #version = 100;
  /** The status of a list or a watch; undefined for the correct answer. */
  listStatus: number | undefined;
  watchStatus: number | undefined;
  /** The status of the answer to an Event. */
  eventStatus = 201;
  /** Each Event as it came, with its path. */
  readonly events: { readonly path: string; readonly body: Record<string, unknown> }[] = [];
  /** The text of a list instead of the objects; empty for no answer. */
  listText: string | undefined;
  /** The fault of a new watch: an immediate end, 410 as an event, garbage, no event, or no status. */
  watchFault: 'close' | 'gone' | 'garbage' | 'silence' | 'mute' | undefined;
  /** The cluster has no definition of ModuleSources, as during bootstrap. */
  isWithoutModuleSources = false;
  /** The cluster has no definition of PackageRepositories, as older clusters. */
  isWithoutPackageRepositories = false;
  /** Resources, or names of objects, that the service may neither list nor watch. */
  readonly forbidden = new Set<string>();
  /** The accepted tokens. */
  readonly tokens = new Set([TOKEN]);
  /** `list modulesources`, `watch secrets`, …, with the time on the monotonic clock. */
  readonly log: { readonly what: string; readonly at: number }[] = [];

  private constructor() {
    this.#server = createServer(serverCertificate('localhost'), (request, response) => {
      this.#serve(request, response);
    });
    // This includes sockets in a TLS handshake, which the HTTP server does not know yet.
    this.#server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
  }

  static async start(port = 0): Promise<FakeKubeApi> {
    const api = new FakeKubeApi();
    await api.listen(port);
    return api;
  }

  async listen(port: number): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(port, '127.0.0.1', resolve));
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Stops until `listen` is called again, and keeps its objects. */
  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  get config(): KubeConfig {
    const config = new KubeConfig();
    config.loadFromOptions({
      clusters: [
        { name: 'fake', server: `https://127.0.0.1:${String(this.port)}`, caData: Buffer.from(CA).toString('base64') },
      ],
      users: [{ name: 'service', token: TOKEN }],
      contexts: [{ name: 'fake', cluster: 'fake', user: 'service' }],
      currentContext: 'fake',
    });
    return config;
  }

  get access(): ClusterAccess {
    return { config: () => Promise.resolve(this.config), refused: () => undefined };
  }

  requests(what: string): number[] {
    return this.log.filter((entry) => entry.what === what).map(({ at }) => at);
  }

  putModuleSource(name: string, registry: UpstreamFields | object, created = '2026-01-01T00:00:00Z'): void {
    this.#put('modulesources', name, { spec: { registry } }, created);
  }

  putPackageRepository(name: string, registry: UpstreamFields | object): void {
    this.#put('packagerepositories', name, { spec: { registry } }, '2026-01-01T00:00:00Z');
  }

  /** Values as text; they are kept in base64. */
  putSecret(values: Readonly<Record<string, string>>, name = 'deckhouse-registry'): void {
    const data = Object.fromEntries(
      Object.entries(values).map(([key, value]) => [key, Buffer.from(value).toString('base64')]),
    );
    this.#put('secrets', name, { data }, '2026-01-01T00:00:00Z');
  }

  putConfigMap(name: string, data: Readonly<Record<string, string>>): void {
    this.#put('configmaps', name, { data }, '2026-01-01T00:00:00Z');
  }

  remove(resource: Resource, name: string): void {
    const object = this.#objects[resource].get(name);
    if (object === undefined) throw new Error(`no ${name}`);
    this.#objects[resource].delete(name);
    object.metadata.resourceVersion = String(++this.#version);
    this.#tell(resource, 'DELETED', object);
  }

  /** Ends running watches, and answers 410 to watches from earlier versions. */
  forget(): void {
    this.#forgotten = this.#version;
    this.cutWatches();
  }

  /** Restores the state before the last ModuleSource, as from a backup; running watches continue and get a bookmark. */
  setBack(): void {
    const [name] = [...this.#objects.modulesources.keys()].slice(-1);
    if (name !== undefined) this.#objects.modulesources.delete(name);
    this.#history.length = 0;
    this.#version = 50;
    for (const { response } of this.#watches) {
      send(response, 'BOOKMARK', { metadata: { resourceVersion: String(this.#version) } });
    }
  }

  cutWatches(): void {
    for (const { response } of this.#watches) response.socket?.destroy();
  }

  #put(resource: Resource, name: string, content: object, creationTimestamp: string): void {
    const before = this.#objects[resource].get(name);
    const uid = before?.metadata.uid ?? randomUUID();
    const metadata = { name, uid, creationTimestamp, resourceVersion: String(++this.#version) };
    const object = { ...content, metadata };
    this.#objects[resource].set(name, object);
    this.#tell(resource, before === undefined ? 'ADDED' : 'MODIFIED', object);
  }

  #tell(resource: Resource, type: string, object: KubeObject): void {
    const line = JSON.parse(JSON.stringify(object)) as KubeObject;
    this.#history.push({ resource, version: this.#version, type, object: line });
    for (const watch of this.#watches) {
      if (watch.resource === resource && isNamed(line, watch.name)) send(watch.response, type, line);
    }
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    const { pathname, searchParams } = new URL(request.url ?? '', 'https://x');
    if (DISCOVERY.test(pathname)) {
      this.#discover(pathname, response);
      return;
    }
    if (request.method === 'POST') {
      void this.#takeEvent(pathname, request, response);
      return;
    }
    const resource = (/\/(secrets|configmaps|packagerepositories)$/.exec(pathname)?.[1] ?? 'modulesources') as Resource;
    const name = /^metadata\.name=(.+)$/.exec(searchParams.get('fieldSelector') ?? '')?.[1];
    const watching = searchParams.get('watch') === 'true';
    const what = name === 'registry-storage-access' ? 'storagesecrets' : resource;
    this.log.push({ what: `${watching ? 'watch' : 'list'} ${what}`, at: performance.now() });
    const isKnown = this.tokens.has(request.headers.authorization?.replace('Bearer ', '') ?? '');
    const forbidden = this.forbidden.has(resource) || this.forbidden.has(name ?? '') ? 403 : undefined;
    const status = isKnown ? (forbidden ?? (watching ? this.watchStatus : this.listStatus)) : 401;
    if (status !== undefined) response.writeHead(status).end('{}');
    else if (this.#absent.includes(resource)) notFound(response);
    else if (watching) this.#watch({ resource, name, response }, Number(searchParams.get('resourceVersion')));
    else if (this.listText === '') return;
    else if (this.listText !== undefined) response.end(this.listText);
    else {
      const items = [...this.#objects[resource].values()].filter((object) => isNamed(object, name));
      response.end(
        JSON.stringify({ kind: KINDS[resource], metadata: { resourceVersion: String(this.#version) }, items }),
      );
    }
  }

  async #takeEvent(path: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = JSON.parse(await text(request)) as Record<string, unknown>;
    this.events.push({ path, body });
    response.writeHead(this.eventStatus).end('{}');
  }

  /** Lists API groups as kube-apiserver does: a group without a kind is absent. */
  #discover(pathname: string, response: ServerResponse): void {
    const versions = [{ groupVersion: 'deckhouse.io/v1alpha1', version: 'v1alpha1' }];
    const resources = ['modulesources', 'packagerepositories'].filter((name) => !this.#absent.includes(name));
    const groups = resources.length === 0 ? [] : [{ name: 'deckhouse.io', versions }];
    if (pathname === '/apis') response.end(JSON.stringify({ kind: 'APIGroupList', groups }));
    else if (resources.length === 0) notFound(response);
    else response.end(JSON.stringify({ kind: 'APIResourceList', resources: resources.map((name) => ({ name })) }));
  }

  get #absent(): readonly string[] {
    return [
      ...(this.isWithoutModuleSources ? ['modulesources'] : []),
      ...(this.isWithoutPackageRepositories ? ['packagerepositories'] : []),
    ];
  }

  #watch(watch: OpenWatch, from: number): void {
    const { resource, name, response } = watch;
    if (this.watchFault === 'mute') return;
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    switch (from < this.#forgotten ? 'gone' : this.watchFault) {
      case 'close':
        response.end();
        return;
      case 'gone':
        send(response, 'ERROR', { kind: 'Status', code: 410 });
        response.end();
        return;
      case 'garbage':
        response.end('{"type":\nnull\n[]\n{"type":"ADDED","object":7}\n');
        return;
      case 'silence':
        return;
      case undefined:
        break;
    }
    for (const event of this.#history) {
      const isWanted = event.resource === resource && event.version > from && isNamed(event.object, name);
      if (isWanted) send(response, event.type, event.object);
    }
    this.#watches.add(watch);
    response.on('close', () => this.#watches.delete(watch));
  }
}

function isNamed({ metadata }: KubeObject, name: string | undefined): boolean {
  return name === undefined || metadata.name === name;
}

/** The answer of kube-apiserver for an unknown kind, and of a balancer for any path. */
function notFound(response: ServerResponse): void {
  response.writeHead(404, { 'content-type': 'text/plain' }).end('404 page not found\n');
}

function send(response: ServerResponse, type: string, object: object): void {
  response.write(`${JSON.stringify({ type, object })}\n`);
}
