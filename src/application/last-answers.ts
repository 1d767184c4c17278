/** The last answers of an upstream to the questions of a request. */
import type { Descriptor } from '../domain/descriptor.ts';
import type { PackageRequest } from '../domain/package.ts';
import type { Upstream } from '../domain/upstream.ts';
import type { FailedRequests, UpstreamAnswer, UpstreamInspection } from './inspection.ts';
import { isOf } from './verdict.ts';

export interface LastAnswers {
  /** The answer for the requested digest; behind an index, the failure of its manifest. */
  readonly manifest: UpstreamAnswer | undefined;
  readonly layer: UpstreamAnswer | undefined;
  /** The latest answer of its host, to any request with any credential. */
  readonly latest: UpstreamAnswer | undefined;
}

interface Asked {
  readonly upstreams: UpstreamInspection;
  readonly upstream: Upstream | undefined;
  readonly request: PackageRequest;
  /** Undefined while a manifest is not here. */
  readonly layer: Descriptor | undefined;
  /** Failures of this digest. */
  readonly failures: readonly FailedRequests[];
}

/** Answers from before a change of the registry or its credential do not count. */
export function lastAnswers({ upstreams, upstream, request, layer, failures }: Asked): LastAnswers {
  if (upstream === undefined) return { manifest: undefined, layer: undefined, latest: undefined };
  const here = upstreams.answers(upstream.registry).filter(({ repository }) => repository === upstream.repository);
  const last = (operation: UpstreamAnswer['operation'], digest: string | undefined): UpstreamAnswer | undefined =>
    here.find((answer) => answer.operation === operation && answer.digest === digest);
  const manifest = last('manifest', request.digest);
  const isEnough = layer !== undefined || (manifest !== undefined && manifest.code !== 'OK');
  return {
    manifest: isEnough ? manifest : (behindIndex(here, failures.filter(isOf(request)), manifest) ?? manifest),
    layer: last('blob', layer?.digest),
    latest: upstreams.answers().find(({ host }) => host === upstream.registry.host),
  };
}

/** An index is kept or answered, its manifest is not: no client asks for that, but requests have failed with its error. */
function behindIndex(
  answers: readonly UpstreamAnswer[],
  failures: readonly FailedRequests[],
  index: UpstreamAnswer | undefined,
): UpstreamAnswer | undefined {
  const since = failures.filter(({ lastAt }) => index === undefined || lastAt >= index.at);
  return answers.find(
    ({ operation, code, at }) =>
      operation === 'manifest' && since.some((failed) => failed.code === code && failed.lastAt >= at),
  );
}
