/** The explanation of a request for an unknown repository without any history. */
import type { Explanation } from '../../src/application/explain-package.ts';
import { RepositoryUnknownError } from '../../src/domain/errors.ts';

export function explanationOf(request: Explanation['request']): Explanation {
  const error = new RepositoryUnknownError();
  return {
    request,
    verdict: {
      outcome: 'fail',
      code: error.code,
      reason: error.message,
      cause: undefined,
      seenAt: undefined,
      retryAt: undefined,
    },
    configuration: {
      registry: undefined,
      upstream: undefined,
      error,
      sources: [],
      askedBefore: [],
      known: [],
      imageRoots: [],
    },
    layer: undefined,
    cached: { manifest: undefined, layer: undefined },
    download: undefined,
    signature: undefined,
    answers: { manifest: undefined, layer: undefined, latest: undefined },
    failures: [],
  };
}
