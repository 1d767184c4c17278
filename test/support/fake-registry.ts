/** A registry on a loopback socket, with the faults that a test scripts. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { parseUpstream, type Upstream } from '../../src/domain/upstream.ts';
import type { TestBlob, TestImage, TestIndex } from './image.ts';
import { CA, serverCertificate, type ServerName } from './tls/certificates.ts';

export interface FakeRegistryOptions {
  /** Plain HTTP when absent. */
  readonly tls?: ServerName | { readonly cert: string; readonly key: string };
  /** The required credential: none, USERNAME and PASSWORD, or a token for them. */
  readonly auth?: 'anonymous' | 'basic' | 'bearer';
  /** Instead of a free port of 127.0.0.1. */
  readonly at?: { readonly address: string; readonly port: number };
}

export interface LoggedRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

/** Answers a request instead of the registry, or returns false to let the registry answer. */
export type Script = (request: LoggedRequest, response: ServerResponse) => boolean;

export const USERNAME = 'robot';
export const PASSWORD = 'canary-pass:word';
export const BASIC = `Basic ${Buffer.from(`${USERNAME}:${PASSWORD}`).toString('base64')}`;

/** OpenSSL refuses weak certificates unless the server lowers its security level. */
const WEAK = { ciphers: 'DEFAULT@SECLEVEL=0' };

export class FakeRegistry {
  readonly #server: Server;
  readonly #options: FakeRegistryOptions;
  readonly #manifests = new Map<string, TestBlob>();
  readonly #blobs = new Map<string, TestBlob>();
  readonly #scripts: Script[] = [];
  #issued = 0;
  #connections = 0;
  /** Oldest first. */
  readonly log: LoggedRequest[] = [];
  /** The fields of a token answer beside the token. */
  tokenFields: Record<string, unknown> = { expires_in: 300 };
  /** The prefix of its tokens. */
  tokenPrefix = 'canary-token-';
  /** The realm in challenges; the registry's own token server when undefined. */
  realm: string | undefined;

  private constructor(options: FakeRegistryOptions) {
    this.#options = options;
    const count = (): void => {
      this.#connections++;
    };
    const listener = (request: IncomingMessage, response: ServerResponse): void => void this.#serve(request, response);
    this.#server =
      options.tls === undefined
        ? createServer(listener)
        : createTlsServer(
            typeof options.tls === 'object'
              ? options.tls
              : { ...serverCertificate(options.tls), ...(options.tls === 'weak' && WEAK) },
            listener,
          );
    this.#server.on(options.tls === undefined ? 'connection' : 'secureConnection', count);
  }

  static async start(options: FakeRegistryOptions = {}): Promise<FakeRegistry> {
    const registry = new FakeRegistry(options);
    const { address = '127.0.0.1', port = 0 } = options.at ?? {};
    await new Promise<void>((resolve, reject) => {
      registry.#server.once('error', reject).listen(port, address, resolve);
    });
    return registry;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  get host(): string {
    return `127.0.0.1:${String((this.#server.address() as AddressInfo).port)}`;
  }

  /** The number of connections that clients have made, including TLS handshakes. */
  get connections(): number {
    return this.#connections;
  }

  get wantsAuthorization(): boolean {
    return this.#options.auth === 'basic' || this.#options.auth === 'bearer';
  }

  get origin(): string {
    return `${this.#options.tls === undefined ? 'http' : 'https'}://${this.host}`;
  }

  /** Returns a new upstream with a new registry object for each call. */
  upstream(overrides: { auth?: object; ca?: string; repo?: string; scheme?: string } = {}): Upstream {
    const auth =
      overrides.auth ?? (this.#options.auth === undefined ? undefined : { username: USERNAME, password: PASSWORD });
    const dockerCfg = auth && Buffer.from(JSON.stringify({ auths: { [this.host]: auth } })).toString('base64');
    return parseUpstream({
      repo: overrides.repo ?? `${this.host}/deckhouse/ee`,
      scheme: overrides.scheme ?? (this.#options.tls === undefined ? 'HTTP' : 'HTTPS'),
      dockerCfg,
      ca: overrides.ca ?? (this.#options.tls === undefined ? '' : CA),
    });
  }

  publish(...images: readonly (TestImage | TestIndex)[]): void {
    for (const image of images) {
      if ('index' in image) {
        this.#manifests.set(image.digest, image.index);
        this.publish(...image.images);
      } else {
        this.#manifests.set(image.digest, image.manifest);
        for (const blob of image.blobs) this.#blobs.set(blob.descriptor.digest, blob);
      }
    }
  }

  /** Scripts are asked in their order, before the registry's own answer. */
  script(script: Script): void {
    this.#scripts.push(script);
  }

  /** Answers the first requests whose URL contains `part` with the given statuses, and the others normally. */
  failTimes(
    part: string,
    ...answers: readonly { status: number; headers?: Record<string, string>; body?: string | Uint8Array }[]
  ): void {
    const left = [...answers];
    this.script(({ url }, response) => {
      const answer = url.includes(part) ? left.shift() : undefined;
      if (answer === undefined) return false;
      response.writeHead(answer.status, answer.headers).end(answer.body ?? '');
      return true;
    });
  }

  requests(part: string): LoggedRequest[] {
    return this.log.filter(({ url }) => url.includes(part));
  }

  /** Invalidates all tokens that were issued before. */
  revokeTokens(): void {
    this.#issued += 1000;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = '';
    for await (const chunk of request.setEncoding('utf8')) body += String(chunk);
    // A client that uses this server as an HTTP proxy sends whole URLs, with any host.
    const url = (request.url ?? '').replace(/^http:\/\/[^/]+/, '');
    const logged = { method: request.method ?? '', url, headers: request.headers, body };
    this.log.push(logged);
    if (this.#scripts.some((script) => script(logged, response))) return;
    if (logged.url.startsWith('/token')) this.#serveToken(logged, response);
    else if (!this.#isAllowed(logged)) this.#challenge(response);
    else this.#serveContent(logged, response);
  }

  #isAllowed({ headers: { authorization } }: LoggedRequest): boolean {
    if (this.#options.auth === 'basic') return authorization === BASIC;
    return this.#options.auth !== 'bearer' || authorization === `Bearer ${this.tokenPrefix}${String(this.#issued)}`;
  }

  #challenge(response: ServerResponse): void {
    const realm = this.realm ?? `${this.origin}/token`;
    const bearer = `Bearer realm="${realm}",service="fake, registry",scope="repository:deckhouse/ee:pull"`;
    const challenge = this.#options.auth === 'basic' ? 'Basic realm="fake"' : bearer;
    response.writeHead(401, { 'www-authenticate': `Negotiate, ${challenge}` }).end(errorBody('UNAUTHORIZED'));
  }

  #serveToken({ headers, method, body }: LoggedRequest, response: ServerResponse): void {
    const known =
      method === 'POST'
        ? new URLSearchParams(body).get('refresh_token') === 'canary-refresh'
        : headers.authorization === undefined || headers.authorization === BASIC;
    if (!known) response.writeHead(401).end(errorBody('UNAUTHORIZED'));
    else response.end(JSON.stringify({ token: `${this.tokenPrefix}${String(++this.#issued)}`, ...this.tokenFields }));
  }

  #serveContent({ url, headers }: LoggedRequest, response: ServerResponse): void {
    const [, kind, digest = ''] = /^\/v2\/.+\/(manifests|blobs)\/([^/?]+)(?:\?|$)/.exec(url) ?? [];
    const blob = (kind === 'manifests' ? this.#manifests : this.#blobs).get(digest);
    if (blob === undefined) {
      response.writeHead(404).end(errorBody(kind === 'manifests' ? 'MANIFEST_UNKNOWN' : 'BLOB_UNKNOWN'));
      return;
    }
    const { bytes, descriptor } = blob;
    if (kind === 'manifests' && !(headers.accept ?? '').includes(descriptor.mediaType)) {
      response.writeHead(404).end(errorBody('MANIFEST_UNKNOWN'));
      return;
    }
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '') ?? [];
    const start = Number(first ?? 0);
    const part = bytes.subarray(start, Number(last ?? bytes.byteLength - 1) + 1);
    const range = `bytes ${String(start)}-${String(start + part.byteLength - 1)}/${String(bytes.byteLength)}`;
    response.writeHead(first === undefined ? 200 : 206, {
      'content-type': kind === 'manifests' ? descriptor.mediaType : 'application/octet-stream',
      'content-length': part.byteLength,
      ...(first !== undefined && { 'content-range': range }),
    });
    response.end(part);
  }
}

export function errorBody(code: string): string {
  return JSON.stringify({ errors: [{ code, message: 'canary-message', detail: {} }] });
}
