/** Decorators that report the events of ports and of the package use case to observers: metrics, the log and history. */
import { type GetIcon, IconError } from '../../application/get-icon.ts';
import type { CacheOutcome, Delivery, GetPackage, Head } from '../../application/get-package.ts';
import type { VerifiedManifest } from '../../application/manifests.ts';
import type { ResolvePackage } from '../../application/resolve-package.ts';
import type { PackageRequest } from '../../domain/reference.ts';
import type { Descriptor, Digest } from '../../domain/descriptor.ts';
import type { BlobInfo, PackageStore, Reservation, SoughtBlob, StoredBlob } from '../../domain/ports/package-store.ts';
import type { PackageError } from '../../domain/errors.ts';
import type { Operation, RegistryGateway, SourceKind } from '../../domain/ports/registry-gateway.ts';
import type { Upstream } from '../../domain/upstream.ts';

type Observer<Event> = (event: Event) => void;

/** One observer that reports each event to all, in their order. */
export function toAll<Event>(observers: readonly Observer<Event>[]): Observer<Event> {
  return (event) => {
    for (const observe of observers) observe(event);
  };
}

export type ArrivalEvent = { readonly blob: Descriptor } & (
  | { readonly kind: 'begun' }
  /** `error` is undefined if the blob is cached. */
  | { readonly kind: 'ended'; readonly seconds: number; readonly error: unknown }
);

export type ArrivalObserver = Observer<ArrivalEvent>;

export class ObservedPackageStore implements PackageStore {
  readonly #store: PackageStore;
  readonly #tell: ArrivalObserver;

  constructor(store: PackageStore, observers: readonly ArrivalObserver[]) {
    this.#store = store;
    this.#tell = toAll(observers);
  }

  open(blob: SoughtBlob): Promise<StoredBlob | undefined> {
    return this.#store.open(blob);
  }

  info(digest: Digest): BlobInfo | undefined {
    return this.#store.info(digest);
  }

  refusal(size: number): ReturnType<PackageStore['refusal']> {
    return this.#store.refusal(size);
  }

  async reserve(blob: Descriptor): Promise<Reservation> {
    const started = performance.now();
    const reservation = await this.#store.reserve(blob);
    return {
      abort: () => reservation.abort(),
      write: (chunks) => {
        const incoming = reservation.write(chunks);
        this.#tell({ kind: 'begun', blob });
        // The observers run in the asynchronous context of the request that began the arrival (ADR 17).
        const end = (error?: unknown): void => {
          this.#tell({ kind: 'ended', blob, seconds: (performance.now() - started) / 1000, error });
        };
        incoming.settled.then(() => {
          end();
        }, end);
        return incoming;
      },
    };
  }
}

/** The place of the request: the registry itself, or a source before it. */
export type AskedPlace = 'registry' | SourceKind;

export interface UpstreamQuestion {
  readonly place: AskedPlace;
  readonly operation: Operation;
  readonly upstream: Upstream;
  readonly digest: Digest;
  /** The first byte of the requested blob. */
  readonly offset: number;
}

export type UpstreamEvent = { readonly question: UpstreamQuestion } &
  /** A manifest is complete or a blob has begun to arrive; or the request failed, with the error. */
  (
    | { readonly kind: 'answered'; readonly seconds: number; readonly error: unknown; readonly isAbandoned: boolean }
    | { readonly kind: 'received'; readonly bytes: number }
    /** The blob ended before its last byte. `isAbandoned` is true if its reader had left. */
    | { readonly kind: 'broken'; readonly error: unknown; readonly isAbandoned: boolean }
  );

export type UpstreamObserver = Observer<UpstreamEvent>;

export class ObservedRegistryGateway implements RegistryGateway {
  readonly #gateway: RegistryGateway;
  readonly #tell: UpstreamObserver;
  readonly #place: AskedPlace;

  constructor(gateway: RegistryGateway, observers: readonly UpstreamObserver[], place: AskedPlace = 'registry') {
    this.#gateway = gateway;
    this.#place = place;
    this.#tell = toAll(observers);
  }

  knownRefusal(upstream: Upstream, operation: Operation, digest: Digest): PackageError | undefined {
    return this.#gateway.knownRefusal(upstream, operation, digest);
  }

  fetchManifest(upstream: Upstream, digest: Digest, signal: AbortSignal): Promise<Uint8Array> {
    const question: UpstreamQuestion = { place: this.#place, operation: 'manifest', upstream, digest, offset: 0 };
    return this.#ask(question, signal, () => this.#gateway.fetchManifest(upstream, digest, signal));
  }

  async fetchBlob(
    upstream: Upstream,
    blob: Descriptor,
    offset: number,
    signal: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array>> {
    const question: UpstreamQuestion = { place: this.#place, operation: 'blob', upstream, digest: blob.digest, offset };
    const chunks = await this.#ask(question, signal, () => this.#gateway.fetchBlob(upstream, blob, offset, signal));
    return this.#received(question, signal, chunks);
  }

  async #ask<Answer>(question: UpstreamQuestion, signal: AbortSignal, ask: () => Promise<Answer>): Promise<Answer> {
    const started = performance.now();
    const tell = (error?: unknown): void => {
      const seconds = (performance.now() - started) / 1000;
      this.#tell({ kind: 'answered', question, seconds, error, isAbandoned: signal.aborted });
    };
    try {
      const answer = await ask();
      tell();
      return answer;
    } catch (error) {
      tell(error);
      throw error;
    }
  }

  async *#received(
    question: UpstreamQuestion,
    signal: AbortSignal,
    chunks: AsyncIterable<Uint8Array>,
  ): AsyncGenerator<Uint8Array> {
    try {
      for await (const chunk of chunks) {
        this.#tell({ kind: 'received', question, bytes: chunk.byteLength });
        yield chunk;
      }
    } catch (error) {
      this.#tell({ kind: 'broken', question, error, isAbandoned: signal.aborted });
      throw error;
    }
  }
}

/** `failed` concerns the package, its manifest, a body that bypasses the store, or an icon. */
type PackageEvent =
  | { readonly kind: 'delivered'; readonly cache: CacheOutcome }
  /** `blob` is the one with the wrong bytes, if it is known. */
  | { readonly kind: 'failed'; readonly error: unknown; readonly blob?: Digest };

export type PackageObserver = Observer<PackageEvent>;

export function onFailure(hear: (error: unknown, blob?: Digest) => void): PackageObserver {
  return (event) => {
    if (event.kind === 'failed') hear(event.error, event.blob);
  };
}

interface ObservedUseCases {
  readonly get: Pick<GetPackage, 'execute' | 'deliver' | 'head'>;
  readonly manifests: Pick<ResolvePackage, 'manifest'>;
}

/** Reports packages when their delivery begins, which may be long before the end of a request. */
export class ObservedPackages {
  readonly #useCases: ObservedUseCases;
  readonly #tell: PackageObserver;

  constructor(useCases: ObservedUseCases, observers: readonly PackageObserver[]) {
    this.#useCases = useCases;
    this.#tell = toAll(observers);
  }

  execute(...asked: Parameters<GetPackage['execute']>): Promise<Delivery> {
    return this.#observed(this.#useCases.get.execute(...asked));
  }

  deliver(...asked: Parameters<GetPackage['deliver']>): Promise<Delivery> {
    return this.#observed(this.#useCases.get.deliver(...asked));
  }

  async #observed(work: Promise<Delivery>): Promise<Delivery> {
    const delivery = await this.#orFailed(work);
    const { cache, blob } = delivery;
    this.#tell({ kind: 'delivered', cache });
    if (cache.kind !== 'bypass') return delivery;
    // The store reports other bodies; a body that bypasses it is verified while it is read.
    const { digest } = delivery.package.layer;
    const read = (offset: number): Promise<Uint8Array> => this.#orFailed(blob.read(offset), digest);
    return { ...delivery, blob: { size: blob.size, read, close: () => blob.close() } };
  }

  head(request: PackageRequest): Promise<Head> {
    return this.#useCases.get.head(request);
  }

  manifest(request: PackageRequest): Promise<VerifiedManifest> {
    return this.#orFailed(this.#useCases.manifests.manifest(request));
  }

  async #orFailed<Outcome>(work: Promise<Outcome>, blob?: Digest): Promise<Outcome> {
    try {
      return await work;
    } catch (error) {
      this.#tell({ kind: 'failed', error, ...(blob !== undefined && { blob }) });
      throw error;
    }
  }
}

/** Reports icons that cannot be delivered, with the reason of the failed step. */
export function observedIcons(
  icons: Pick<GetIcon, 'execute'>,
  observers: readonly PackageObserver[],
): Pick<GetIcon, 'execute'> {
  const tell = toAll(observers);
  return {
    execute: (request) =>
      icons.execute(request).catch((error: unknown) => {
        tell({ kind: 'failed', error: error instanceof IconError ? error.error : error });
        throw error;
      }),
  };
}
