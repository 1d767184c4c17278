/** The last answers of an upstream to the fetches of a request. */
import type { Digest } from '../domain/descriptor.ts';
import type { UpstreamAnswer, UpstreamInspection } from '../domain/ports/registry-gateway.ts';
import type { FailedRequests } from '../domain/ports/request-inspection.ts';
import type { PackageRequest } from '../domain/reference.ts';
import type { Upstream } from '../domain/upstream.ts';

export interface LastAnswers {
  /** The answer for the requested digest; for an index, the failure of its manifest. */
  readonly manifest: UpstreamAnswer | undefined;
  readonly layer: UpstreamAnswer | undefined;
  /** The latest answer of its host, to any request with any credential. */
  readonly latest: UpstreamAnswer | undefined;
}

interface Asked {
  readonly upstreams: UpstreamInspection;
  readonly upstream: Upstream | undefined;
  readonly digest: Digest;
  /** The manifest that has to be fetched first; undefined if all are cached. */
  readonly missing: Digest | undefined;
  readonly layer: Digest | undefined;
  /** Failures of the same request. */
  readonly failures: readonly FailedRequests[];
}

/** Ignores answers from before a change of the registry or its credential. */
export function lastAnswers({ upstreams, upstream, digest, missing, layer, failures }: Asked): LastAnswers {
  if (upstream === undefined) return { manifest: undefined, layer: undefined, latest: undefined };
  const here = upstreams.answers(upstream.registry).filter(({ repository }) => repository === upstream.repository);
  const last = (operation: UpstreamAnswer['operation'], sought: Digest | undefined): UpstreamAnswer | undefined =>
    here.find((answer) => answer.operation === operation && answer.digest === sought);
  const first = last('manifest', missing ?? digest);
  // Without a cache, each request fetches the index successfully before it fails at the manifest.
  const behind = missing === undefined || first?.code !== 'OK' ? undefined : behindIndex(here, failures, first.at);
  return {
    manifest: behind ?? first ?? last('manifest', digest),
    layer: last('blob', layer),
    latest: upstreams.answers().find(({ host }) => host === upstream.registry.host),
  };
}

/** The answer with which requests have failed at a manifest after they got the index. */
function behindIndex(
  answers: readonly UpstreamAnswer[],
  failures: readonly FailedRequests[],
  since: Date,
): UpstreamAnswer | undefined {
  const later = failures.filter(({ lastAt }) => lastAt >= since);
  return answers.find(
    ({ operation, code, at }) =>
      operation === 'manifest' && later.some((failed) => failed.code === code && failed.lastAt >= at),
  );
}

/** Selects failures of the same request. */
export function isOf({ digest, repository, path }: PackageRequest): (failed: FailedRequests) => boolean {
  return ({ request }) => request?.digest === digest && request.repository === repository && request.path === path;
}
