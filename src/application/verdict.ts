/** Whether a request would be served now and out of what, or with which error it would fail. */
import type { Descriptor } from '../domain/descriptor.ts';
import type { PackageError } from '../domain/errors.ts';
import type { PackageRequest } from '../domain/package.ts';
import type {
  Download,
  FailedRequests,
  KeptBlob,
  StoreUsage,
  UpstreamAnswer,
  UpstreamDescription,
} from './inspection.ts';

export type Verdict =
  | {
      readonly outcome: 'hit' | 'joined' | 'miss' | 'bypass';
      readonly reason: string;
      /** Whether the registry has to do its part yet. */
      readonly needsRegistry: boolean;
    }
  | {
      readonly outcome: 'fail';
      readonly code: Exclude<UpstreamAnswer['code'], 'OK'>;
      /** The reason in the answer to the client. */
      readonly reason: string;
      /** The cause in the log. */
      readonly cause: string | undefined;
      /** When the registry was last seen to fail: asked again, it may do better. Undefined when that does not matter. */
      readonly seenAt: Date | undefined;
    };

/** All that is known of a request. */
export interface Evidence {
  readonly request: PackageRequest;
  readonly layer: Descriptor | undefined;
  /** The reason why the cached manifest leads to no package, or why no upstream can be asked for it. */
  readonly contentError: PackageError | undefined;
  readonly upstreamError: PackageError | undefined;
  /** Where the package would be looked for; undefined for the reason that `upstreamError` has. */
  readonly upstream: Pick<UpstreamDescription, 'repository'> | undefined;
  readonly kept: KeptBlob | undefined;
  readonly download: Download | undefined;
  readonly answers: Readonly<Record<'manifest' | 'layer', UpstreamAnswer | undefined>>;
  readonly failures: readonly FailedRequests[];
  readonly usage: StoreUsage;
}

/** In the order in which a request would meet these things. */
export function judge(evidence: Evidence): Verdict {
  const { layer, contentError, upstreamError, kept, download, usage } = evidence;
  if (contentError !== undefined) return failing(contentError);
  if (download !== undefined) {
    const reason = download.isQueued
      ? 'the package waits for one of the parallel downloads to end, for this request, too'
      : 'the package is arriving, for this request, too';
    return { outcome: 'joined', reason, needsRegistry: true };
  }
  if (kept !== undefined) {
    const proof = kept.verifiedAt === undefined ? ', and will be proved before its first use' : '';
    return { outcome: 'hit', reason: `the package is kept here${proof}`, needsRegistry: false };
  }
  if (upstreamError !== undefined) return failing(upstreamError);
  return seenToFail(evidence) ?? fetching(layer, usage);
}

function failing({ code, message, cause }: PackageError): Verdict {
  const because = cause instanceof Error ? cause.message : undefined;
  return { outcome: 'fail', code, reason: message, cause: because, seenAt: undefined };
}

/** The registry's last word, when it was no answer, or none that could be used; or that it cannot be asked. */
function seenToFail({ request, layer, upstream, answers, failures }: Evidence): Verdict | undefined {
  const answer = layer === undefined ? answers.manifest : answers.layer;
  const ours = failures
    .filter(isOf(request))
    .filter(isOurs)
    .find(({ code }) => code !== 'NAME_INVALID' || upstream?.repository === undefined);
  if (ours !== undefined && (answer === undefined || ours.lastAt >= answer.at)) {
    const { code, detail, cause, lastAt } = ours;
    return { outcome: 'fail', code, reason: detail, cause, seenAt: lastAt };
  }
  if (answer === undefined || answer.code === 'OK') return undefined;
  return { outcome: 'fail', code: answer.code, reason: answer.detail, cause: answer.cause, seenAt: answer.at };
}

/** Selects failures of the same repository and path. */
export function isOf({ repository, path }: PackageRequest): (failed: FailedRequests) => boolean {
  return ({ request }) => request?.repository === repository && request.path === path;
}

/** An error of this side: the answer is unusable, or no upstream can be asked, as when a registry is named without a path. */
function isOurs(
  failed: FailedRequests,
): failed is FailedRequests & { readonly code: 'DIGEST_MISMATCH' | 'MANIFEST_INVALID' | 'NAME_INVALID' } {
  return failed.code === 'DIGEST_MISMATCH' || failed.code === 'MANIFEST_INVALID' || failed.code === 'NAME_INVALID';
}

function fetching(layer: Descriptor | undefined, { maxBytes, limitBytes }: StoreUsage): Verdict {
  if (maxBytes === 0) return { outcome: 'bypass', reason: 'nothing is kept here', needsRegistry: true };
  if (layer === undefined) {
    return { outcome: 'miss', reason: 'the manifest is not here: the registry will be asked', needsRegistry: true };
  }
  return layer.size > limitBytes
    ? { outcome: 'bypass', reason: 'the package is larger than all that may be kept', needsRegistry: true }
    : { outcome: 'miss', reason: 'the package is not here: the registry will be asked', needsRegistry: true };
}
