/** A registry, its token server and its object storage on loopback. A script decides the answer for each digest and attempt. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Digest } from '../../../../src/domain/descriptor.ts';
import { PASSWORD, USERNAME } from '../../../../test/support/fake-registry.ts';
import type { TestBlob, TestImage } from '../../../../test/support/image.ts';
import { CA } from '../../../../test/support/tls/certificates.ts';
import { honestly } from './behaviours.ts';
import { type Auth, RegistryAuth } from './registry-auth.ts';
import type { Answer, Exchange, Place, Script } from './exchange.ts';
import { Listener, type ListenerOptions } from './listener.ts';
import { honestContent, refusal } from './honest-answers.ts';

export interface RegistryOptions extends ListenerOptions {
  /** The kind of authentication; tokens of its own token server if absent. */
  readonly auth?: Auth;
  /** The registry redirects requests for blobs to signed URLs of its object storage, like those of S3. */
  readonly hasStorage?: boolean;
}

const REPOSITORY = 'deckhouse/ee';

interface Counts {
  requests: number;
  bytes: number;
}

export class ScriptedRegistry {
  readonly #options: RegistryOptions;
  readonly #onViolation: (violation: string) => void;
  readonly #content = new Map<string, TestBlob>();
  readonly #counts = new Map<string, Counts>();
  readonly #scripts: Script[] = [];
  readonly #byDigest = new Map<string, Script>();
  readonly #listeners: Listener[] = [];
  readonly #auth: RegistryAuth;
  /** Called for a wrong credential. */
  onRefused: () => void = () => undefined;
  /** The number of 401 answers. */
  challenged = 0;

  private constructor(options: RegistryOptions, onViolation: (violation: string) => void) {
    this.#options = options;
    this.#onViolation = onViolation;
    this.#auth = new RegistryAuth(options.auth ?? 'bearer', REPOSITORY);
  }

  static async start(options: RegistryOptions, onViolation: (violation: string) => void): Promise<ScriptedRegistry> {
    const registry = new ScriptedRegistry(options, onViolation);
    const { auth = 'bearer', hasStorage = false, ...listening } = options;
    // Token server and object storage have random ports.
    const elsewhere = listening.tls === undefined ? {} : { tls: listening.tls };
    registry.#listeners.push(await Listener.start(registry.#serving('blob'), listening));
    if (auth === 'bearer') registry.#listeners.push(await Listener.start(registry.#serving('token'), elsewhere));
    if (hasStorage) registry.#listeners.push(await Listener.start(registry.#serving('storage'), elsewhere));
    return registry;
  }

  /** Resets all connections. Another registry can start on the same port. */
  async close(): Promise<void> {
    await Promise.all(this.#listeners.map((listener) => listener.close()));
  }

  closeIdle(): void {
    for (const listener of this.#listeners) listener.closeIdle();
  }

  /** The addresses of the registry, its token server and its storage. */
  get hosts(): string[] {
    return this.#listeners.map(({ host }) => host);
  }

  get port(): number {
    return this.#registry.port;
  }

  get repo(): string {
    return `${this.#registry.host}/${REPOSITORY}`;
  }

  get tokenHost(): string {
    return this.#options.auth === undefined || this.#options.auth === 'bearer' ? (this.hosts[1] ?? '') : '';
  }

  /** The entry for `credentials.registries`. */
  get entry(): Record<string, unknown> {
    const { tls, auth } = this.#options;
    return {
      repo: this.repo,
      default: true,
      scheme: tls === undefined ? 'HTTP' : 'HTTPS',
      ...(tls !== undefined && { ca: CA }),
      ...(auth !== 'anonymous' && { username: USERNAME, password: PASSWORD }),
    };
  }

  /** The `WWW-Authenticate` of its 401 answers. */
  get challenge(): string {
    return this.#auth.challenge(this.#listeners[1]?.origin ?? '');
  }

  /** The fields of a token answer in addition to the token. */
  set tokenFields(fields: Readonly<Record<string, unknown>>) {
    this.#auth.tokenFields = fields;
  }

  /** Sets the only valid password, and revokes all tokens that were issued for another one. */
  changePassword(password: string): void {
    this.#auth.changePassword(password);
  }

  publish(...images: readonly TestImage[]): void {
    for (const { manifest, blobs } of images) {
      this.#content.set(`manifest ${manifest.descriptor.digest}`, manifest);
      for (const blob of blobs) this.#content.set(`blob ${blob.descriptor.digest}`, blob);
    }
  }

  /** Removes images that are no longer requested, and their counts. */
  withdraw(...images: readonly TestImage[]): void {
    for (const { manifest, blobs } of images) {
      for (const { descriptor } of [manifest, ...blobs]) {
        for (const place of ['manifest', 'blob', 'storage']) {
          this.#content.delete(`${place} ${descriptor.digest}`);
          this.#counts.delete(`${place} ${descriptor.digest}`);
        }
        this.#byDigest.delete(descriptor.digest);
      }
    }
  }

  /** Sets the script for a manifest or a blob at all places. It takes precedence over the scripts of `scriptAll`. */
  script(digest: Digest, script: Script): void {
    this.#byDigest.set(digest, script);
  }

  /** Adds a script for all authenticated requests, including those for tokens. The latest script decides first. */
  scriptAll(script: Script): void {
    this.#scripts.unshift(script);
  }

  requests(place: Place, digest?: Digest): number {
    return this.#countsOf(place, digest).requests;
  }

  /** The body bytes that were handed to the kernel. */
  bytes(place: Place, digest?: Digest): number {
    return this.#countsOf(place, digest).bytes;
  }

  /** Revokes all tokens. */
  revokeTokens(): void {
    this.#auth.revoke();
  }

  get #registry(): Listener {
    const [registry] = this.#listeners;
    if (registry === undefined) throw new Error('not started');
    return registry;
  }

  #countsOf(place: Place, digest: Digest | undefined): Counts {
    const key = `${place} ${digest ?? ''}`;
    const counts = this.#counts.get(key) ?? { requests: 0, bytes: 0 };
    this.#counts.set(key, counts);
    return counts;
  }

  #serving(listener: 'blob' | 'token' | 'storage'): (request: IncomingMessage, response: ServerResponse) => void {
    return (request, response) => {
      response.on('error', () => undefined);
      request.resume();
      const { pathname } = new URL(request.url ?? '/', 'http://x');
      const [, kind, digest] = /\/(manifests|blobs|storage)\/(sha256:[0-9a-f]{64})$/.exec(pathname) ?? [];
      const place = listener === 'blob' && kind === 'manifests' ? 'manifest' : listener;
      const honest = this.#honest(place, digest, request);
      const isChallenge = honest.status === 401 && place !== 'token';
      const counts = this.#countsOf(place, digest as Digest | undefined);
      if (!isChallenge) counts.requests++;
      const exchange: Exchange = {
        place,
        digest: digest as Digest | undefined,
        attempt: counts.requests,
        offset: Number(/^bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0),
        request,
        response,
        honest,
        write: (bytes) => {
          if (response.destroyed) return;
          counts.bytes += bytes.byteLength;
          response.write(bytes);
        },
      };
      void (isChallenge ? honestly : this.#behaviourFor(exchange))(exchange);
    };
  }

  #behaviourFor(exchange: Exchange): (exchange: Exchange) => void | Promise<void> {
    const own = exchange.digest === undefined ? undefined : this.#byDigest.get(exchange.digest)?.(exchange);
    if (own !== undefined) return own;
    for (const script of this.#scripts) {
      const behaviour = script(exchange);
      if (behaviour !== undefined) return behaviour;
    }
    return honestly;
  }

  #honest(place: Place, digest: string | undefined, request: IncomingMessage): Answer {
    const { authorization } = request.headers;
    if (place === 'token') return this.#auth.issue(authorization);
    if (place === 'storage') {
      // S3 refuses a request with a second credential, too. A credential that comes here has been sent to a wrong host.
      if (authorization !== undefined) {
        this.#onViolation('a credential was sent to the object storage');
        return refusal(400, 'InvalidArgument');
      }
    } else if (!this.#auth.admits(authorization)) {
      this.challenged++;
      if (authorization !== undefined) this.onRefused();
      return refusal(401, 'UNAUTHORIZED', { 'www-authenticate': this.challenge });
    }
    const blob = this.#content.get(`${place === 'storage' ? 'blob' : place} ${digest ?? ''}`);
    if (place === 'blob' && blob !== undefined && this.#options.hasStorage === true) {
      const location = `${this.#listeners.at(-1)?.origin ?? ''}/storage/${digest ?? ''}?X-Amz-Signature=canary-signature`;
      return { status: 307, headers: { location, 'content-length': 0 }, body: new Uint8Array() };
    }
    return honestContent(blob, place, request.headers);
  }
}
