/** Remembers what upstreams answered last, without their gateway's knowing. */
import type { Descriptor } from '../domain/descriptor.ts';
import type { Digest } from '../domain/digest.ts';
import { InvalidArgumentError, PackageError } from '../domain/errors.ts';
import type { Operation, RegistryGateway } from '../domain/ports/registry-gateway.ts';
import type { Registry, Upstream } from '../domain/upstream.ts';
import type { UpstreamAnswer, UpstreamInspection } from './inspection.ts';

/** A few hundred KB; a cluster's upgrade asks for fewer packages. */
const MAX_ANSWERS = 512;

interface Question extends Pick<UpstreamAnswer, 'operation' | 'host' | 'repository' | 'digest'> {
  /** Weak, so that a credential that has been replaced is not kept for this. */
  readonly registry: WeakRef<Registry>;
}

interface Remembered {
  readonly answer: UpstreamAnswer;
  readonly registry: WeakRef<Registry>;
}

export class RecordedRegistryGateway implements RegistryGateway, UpstreamInspection {
  readonly #gateway: RegistryGateway;
  /** In the order of their times, one to each question. */
  readonly #answers = new Map<string, Remembered>();

  constructor(gateway: RegistryGateway) {
    this.#gateway = gateway;
  }

  answers(registry?: Registry): UpstreamAnswer[] {
    const all = [...this.#answers.values()].reverse();
    const those = registry === undefined ? all : all.filter((each) => each.registry.deref() === registry);
    return those.map(({ answer }) => answer);
  }

  knownRefusal(upstream: Upstream, operation: Operation, digest: Digest): PackageError | undefined {
    return this.#gateway.knownRefusal(upstream, operation, digest);
  }

  async fetchManifest(upstream: Upstream, digest: Digest, signal: AbortSignal): Promise<Uint8Array> {
    const question = questionOf('manifest', upstream, digest);
    return this.#record(question, signal, () => this.#gateway.fetchManifest(upstream, digest, signal));
  }

  async fetchBlob(
    upstream: Upstream,
    blob: Descriptor,
    offset: number,
    signal: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array>> {
    const question = questionOf('blob', upstream, blob.digest);
    const chunks = await this.#record(question, signal, () => this.#gateway.fetchBlob(upstream, blob, offset, signal));
    return this.#followed(question, signal, chunks);
  }

  async #record<Answer>(question: Question, signal: AbortSignal, ask: () => Promise<Answer>): Promise<Answer> {
    try {
      const answer = await ask();
      this.#remember(question, { code: 'OK', detail: '', cause: undefined });
      return answer;
    } catch (error) {
      if (!signal.aborted) this.#fail(question, error);
      throw error;
    }
  }

  /** A blob that breaks off is a failed answer; one whose reader leaves is not. */
  async *#followed(
    question: Question,
    signal: AbortSignal,
    chunks: AsyncIterable<Uint8Array>,
  ): AsyncGenerator<Uint8Array> {
    try {
      yield* chunks;
    } catch (error) {
      if (!signal.aborted) this.#fail(question, error);
      throw error;
    }
  }

  #fail(question: Question, error: unknown): void {
    // Refused on this side, before any request to an upstream.
    if (error instanceof InvalidArgumentError) return;
    const known = error instanceof PackageError ? error : undefined;
    this.#remember(question, {
      code: known?.code ?? 'INTERNAL',
      detail: known?.message ?? 'internal error',
      cause: known?.cause instanceof Error ? known.cause.message : undefined,
    });
  }

  #remember({ registry, ...question }: Question, said: Pick<UpstreamAnswer, 'code' | 'detail' | 'cause'>): void {
    const key = `${question.operation} ${question.host}/${question.repository ?? ''} ${question.digest}`;
    this.#answers.delete(key);
    this.#answers.set(key, { answer: { ...question, at: new Date(), ...said }, registry });
    const [oldest] = this.#answers.keys();
    if (oldest !== undefined && this.#answers.size > MAX_ANSWERS) this.#answers.delete(oldest);
  }
}

function questionOf(operation: Operation, { registry, repository }: Upstream, digest: Digest): Question {
  return { operation, host: registry.host, repository, digest, registry: new WeakRef(registry) };
}
