/** The last answers of upstreams, for the status page and /explain. */
import { BoundedMap } from '../../domain/bounded-map.ts';
import type { UpstreamAnswer, UpstreamInspection } from '../../domain/ports/registry-gateway.ts';
import { InvalidArgumentError, PackageError } from '../../domain/errors.ts';
import type { Registry } from '../../domain/upstream.ts';
import type { UpstreamEvent, UpstreamQuestion } from './observed-ports.ts';

/** A few hundred KB; the upgrade of a cluster requests fewer packages. */
const MAX_ANSWERS = 512;

interface Remembered {
  readonly answer: UpstreamAnswer;
  /** A weak reference, so that a replaced credential can be collected. */
  readonly registry: WeakRef<Registry>;
}

export class UpstreamHistory implements UpstreamInspection {
  /** One answer for each request, in the order of their times. */
  readonly #answers = new BoundedMap<string, Remembered>(MAX_ANSWERS);

  answers(registry?: Registry): UpstreamAnswer[] {
    const all = [...this.#answers.values()].reverse();
    const those = registry === undefined ? all : all.filter((each) => each.registry.deref() === registry);
    return those.map(({ answer }) => answer);
  }

  readonly observe = (event: UpstreamEvent): void => {
    if (event.kind === 'received') return;
    const { question, error } = event;
    if (error === undefined) this.#remember(question, { code: 'OK', detail: '', cause: undefined });
    // An abandoned request has no answer. An invalid argument is refused here, before any request to an upstream.
    else if (!event.isAbandoned && !(error instanceof InvalidArgumentError)) this.#fail(question, error);
  };

  #fail(question: UpstreamQuestion, error: unknown): void {
    const known = error instanceof PackageError ? error : undefined;
    this.#remember(question, {
      code: known?.code ?? 'INTERNAL',
      detail: known?.message ?? 'internal error',
      cause: known?.cause instanceof Error ? known.cause.message : undefined,
    });
  }

  #remember(
    { operation, upstream: { registry, repository }, digest }: UpstreamQuestion,
    said: Pick<UpstreamAnswer, 'code' | 'detail' | 'cause'>,
  ): void {
    const { host } = registry;
    const key = `${operation} ${host}/${repository ?? ''} ${digest}`;
    const answer = { operation, host, repository, digest, at: new Date(), ...said };
    this.#answers.set(key, { answer, registry: new WeakRef(registry) });
  }
}
