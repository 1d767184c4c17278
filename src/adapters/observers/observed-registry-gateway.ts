/** Tells observers of each question to a RegistryGateway and of its answer, without the gateway's knowing. */
import type { Descriptor, Digest } from '../../domain/descriptor.ts';
import type { PackageError } from '../../domain/errors.ts';
import type { Operation, RegistryGateway } from '../../domain/ports/registry-gateway.ts';
import type { Upstream } from '../../domain/upstream.ts';

export interface UpstreamQuestion {
  readonly operation: Operation;
  readonly upstream: Upstream;
  readonly digest: Digest;
  /** The first byte of a blob that is asked for. */
  readonly offset: number;
}

export type UpstreamEvent = { readonly question: UpstreamQuestion } &
  /** A manifest is here or a blob has begun to arrive; or not, with the error. */
  (
    | { readonly kind: 'answered'; readonly seconds: number; readonly error: unknown; readonly isAbandoned: boolean }
    | { readonly kind: 'received'; readonly bytes: number }
    /** The blob ended before its last byte. `isAbandoned`: because its reader had left. */
    | { readonly kind: 'broken'; readonly error: unknown; readonly isAbandoned: boolean }
  );

export type UpstreamObserver = (event: UpstreamEvent) => void;

export class ObservedRegistryGateway implements RegistryGateway {
  readonly #gateway: RegistryGateway;
  readonly #observers: readonly UpstreamObserver[];

  constructor(gateway: RegistryGateway, observers: readonly UpstreamObserver[]) {
    this.#gateway = gateway;
    this.#observers = observers;
  }

  knownRefusal(upstream: Upstream, operation: Operation, digest: Digest): PackageError | undefined {
    return this.#gateway.knownRefusal(upstream, operation, digest);
  }

  fetchManifest(upstream: Upstream, digest: Digest, signal: AbortSignal): Promise<Uint8Array> {
    const question: UpstreamQuestion = { operation: 'manifest', upstream, digest, offset: 0 };
    return this.#ask(question, signal, () => this.#gateway.fetchManifest(upstream, digest, signal));
  }

  async fetchBlob(
    upstream: Upstream,
    blob: Descriptor,
    offset: number,
    signal: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array>> {
    const question: UpstreamQuestion = { operation: 'blob', upstream, digest: blob.digest, offset };
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

  #tell(event: UpstreamEvent): void {
    for (const observe of this.#observers) observe(event);
  }
}
