/** Explains a request: its current plan and its history. Sends no request to an upstream. */
import type { Descriptor } from '../domain/descriptor.ts';
import { type ErrorCode, PackageError, SignatureError, UpstreamThrottledError } from '../domain/errors.ts';
import type {
  ConfiguredRegistry,
  CredentialInspection,
  CredentialProvider,
  CredentialSource,
} from '../domain/ports/credential-provider.ts';
import type { BlobInfo, PackageStore } from '../domain/ports/package-store.ts';
import type {
  SourceInspection,
  SourceStatus,
  UpstreamAnswer,
  UpstreamInspection,
} from '../domain/ports/registry-gateway.ts';
import type { FailedRequests, RequestInspection } from '../domain/ports/request-inspection.ts';
import { DEFAULT_REPOSITORY, type PackageRequest } from '../domain/reference.ts';
import { describeUpstream, type Upstream, type UpstreamDescription } from '../domain/upstream.ts';
import type { Download } from './downloads.ts';
import type { GetImage, ImageRoot } from './get-image.ts';
import type { GetPackage, Plan } from './get-package.ts';
import { isOf, lastAnswers, type LastAnswers } from './last-answers.ts';
import { upstreamOf } from './manifests.ts';
import type { SignatureFinding, SignatureInspection, SignatureMode } from './resolve-signed-package.ts';

export type Verdict =
  | {
      readonly outcome: 'hit' | 'joined' | 'miss' | 'bypass';
      readonly reason: string;
      /** Whether the result depends on a request to the registry. */
      readonly needsRegistry: boolean;
    }
  | {
      readonly outcome: 'fail';
      readonly code: ErrorCode | 'INTERNAL';
      /** The reason in the answer to the client. */
      readonly reason: string;
      /** The cause in the log. */
      readonly cause: string | undefined;
      /** The time of the last failure of the registry, which may have recovered since; undefined if that does not matter. */
      readonly seenAt: Date | undefined;
      /** The end of the registry's Retry-After; until then no request is sent to it. */
      readonly retryAt: Date | undefined;
    };

export interface Explanation {
  readonly request: PackageRequest;
  readonly verdict: Verdict;
  readonly configuration: {
    /** The registry that matches the name of the repository. */
    readonly registry: ConfiguredRegistry | undefined;
    /** The upstream of the package, including `path`; undefined for the reason in `error`. */
    readonly upstream: UpstreamDescription | undefined;
    readonly error: PackageError | undefined;
    readonly sources: readonly CredentialSource[];
    /** The sources that are asked before this registry, in their order while none of them rests. */
    readonly askedBefore: readonly SourceStatus[];
    /** The registries that requests could name; only if none matches. */
    readonly known: readonly ConfiguredRegistry[];
    /** Where images are looked for by name; only for the default registry. */
    readonly imageRoots: readonly ImageRoot[];
  };
  /** Undefined while a manifest is not cached. */
  readonly layer: Descriptor | undefined;
  readonly cached: {
    /** The manifest or index of the requested digest. */
    readonly manifest: BlobInfo | undefined;
    /** Whether the blob of the requested digest is not a manifest, for example a layer. */
    readonly isOther?: boolean;
    readonly layer: BlobInfo | undefined;
  };
  readonly download: Download | undefined;
  /** Undefined if signatures are not verified. */
  readonly signature: ExplainedSignature | undefined;
  readonly answers: LastAnswers;
  /** The failures of this digest in any repository, the latest first. */
  readonly failures: readonly FailedRequests[];
}

export interface ExplainedSignature {
  readonly mode: SignatureMode;
  /** Undefined if it was not verified since the start. */
  readonly finding: SignatureFinding | undefined;
}

interface ExplainPackageOptions {
  readonly get: Pick<GetPackage, 'plan'>;
  readonly store: Pick<PackageStore, 'info'>;
  readonly images: Pick<GetImage, 'roots'>;
  readonly credentials: CredentialProvider;
  readonly inspection: {
    readonly credentials: CredentialInspection;
    readonly upstreams: UpstreamInspection;
    /** Undefined if there are no sources besides registries. */
    readonly sources?: Pick<SourceInspection, 'sources'> | undefined;
    readonly requests: Pick<RequestInspection, 'failures'>;
  };
  readonly signatures?: SignatureInspection | undefined;
}

export class ExplainPackage {
  readonly #options: ExplainPackageOptions;

  constructor(options: ExplainPackageOptions) {
    this.#options = options;
  }

  async execute(request: PackageRequest): Promise<Explanation> {
    const { get, store, inspection, signatures } = this.#options;
    const { digest } = request;
    const plan = await get.plan(request);
    const upstream = await this.#upstream(request);
    const failures = inspection.requests.failures().filter((failed) => failed.request?.digest === digest);
    const { layer } = plan.package ?? {};
    const found = store.info(digest);
    const answers = lastAnswers({
      upstreams: inspection.upstreams,
      upstream: upstream instanceof PackageError ? undefined : upstream,
      digest,
      missing: plan.missing,
      layer: layer?.digest,
      failures: failures.filter(isOf(request)),
    });
    const answer = plan.package === undefined ? answers.manifest : answers.layer;
    const signature = signatures && { mode: signatures.mode, finding: signatures.finding(digest) };
    const seen = lastFailure(answer, failures.filter(isOf(request)));
    return {
      request,
      verdict: refusedSignature(plan, signature) ?? verdictOf(plan, seen),
      configuration: {
        ...this.#configuration(request, upstream),
        imageRoots: await this.#imageRoots(request, upstream),
      },
      // Without the content of the descriptor, which explains nothing.
      layer: layer && { mediaType: layer.mediaType, digest: layer.digest, size: layer.size },
      cached: {
        // If the plan misses the manifest although its blob is cached, the blob is not a manifest.
        ...(plan.missing === digest && found !== undefined
          ? { manifest: undefined, isOther: true }
          : { manifest: found }),
        layer: layer && store.info(layer.digest),
      },
      download: plan.kind === 'joined' ? plan.download : undefined,
      signature,
      answers,
      failures,
    };
  }

  async #upstream(request: PackageRequest): Promise<Upstream | PackageError> {
    try {
      return await upstreamOf(request, this.#options.credentials);
    } catch (error) {
      if (!(error instanceof PackageError)) throw error;
      return error;
    }
  }

  async #imageRoots({ repository }: PackageRequest, upstream: Upstream | PackageError): Promise<ImageRoot[]> {
    if (repository !== DEFAULT_REPOSITORY || upstream instanceof PackageError) return [];
    return this.#options.images.roots();
  }

  #configuration(
    { repository }: PackageRequest,
    upstream: Upstream | PackageError,
  ): Omit<Explanation['configuration'], 'imageRoots'> {
    const { credentials, sources } = this.#options.inspection;
    const registries = credentials.registries();
    const registry = registries.find(({ names }) => names.includes(repository));
    return {
      registry,
      ...(upstream instanceof PackageError
        ? { upstream: undefined, error: upstream }
        : { upstream: describeUpstream(upstream), error: undefined }),
      askedBefore: upstream instanceof PackageError ? [] : (sources?.sources(upstream) ?? []),
      sources: credentials.sources(),
      known: registry ? [] : registries,
    };
  }
}

/** The last failure of the registry for this request; undefined if it has answered since. */
interface LastFailure {
  readonly code: ErrorCode | 'INTERNAL';
  readonly reason: string;
  readonly cause: string | undefined;
  readonly seenAt: Date;
}

/** Unusable content is known only from failed requests, not from the gateway. */
function lastFailure(answer: UpstreamAnswer | undefined, failures: readonly FailedRequests[]): LastFailure | undefined {
  for (const { code, detail, cause, lastAt } of failures) {
    if (code !== 'DIGEST_MISMATCH' && code !== 'MANIFEST_INVALID') continue;
    if (answer === undefined || lastAt >= answer.at) return { code, reason: detail, cause, seenAt: lastAt };
  }
  if (answer === undefined || answer.code === 'OK') return undefined;
  return { code: answer.code, reason: answer.detail, cause: answer.cause, seenAt: answer.at };
}

const REASONS = {
  hit: 'the package is cached',
  joined: 'the package is arriving, for this request, too',
  miss: 'the package is not cached: the registry will be asked',
  'store-off': 'the cache is off (store.enabled): the registry will be asked',
  'store-too-small': 'the package is larger than the cache (store.maxSize): the registry will be asked',
  'store-full': 'all of the cache is in use, or its volume is full: the registry will be asked',
  'store-failed': 'the disk of the cache does not answer: the registry will be asked',
};

/** An image that was refused before is assumed to be refused again. */
function refusedSignature(plan: Plan, signature: ExplainedSignature | undefined): Verdict | undefined {
  if (plan.kind === 'fail' || signature?.mode !== 'enforce' || signature.finding === undefined) return undefined;
  const { verdict, verifiedAt: seenAt } = signature.finding;
  if (verdict.kind === 'valid') return undefined;
  const { code, message: reason } = new SignatureError(verdict.kind, verdict.reason);
  return { outcome: 'fail', code, reason, cause: verdict.reason, seenAt, retryAt: undefined };
}

/** A registry that failed before is assumed to fail again, although a request would be sent to it. */
function verdictOf(plan: Plan, seen: LastFailure | undefined): Verdict {
  if (plan.kind === 'fail') {
    const { error } = plan;
    const retryAt =
      error instanceof UpstreamThrottledError ? new Date(Date.now() + error.retryAfterSeconds * 1000) : undefined;
    if (seen?.code === error.code) return { outcome: 'fail', ...seen, retryAt };
    const cause = error.cause instanceof Error ? error.cause.message : undefined;
    return { outcome: 'fail', code: error.code, reason: error.message, cause, seenAt: undefined, retryAt };
  }
  if ((plan.kind === 'miss' || plan.kind === 'bypass') && seen !== undefined)
    return { outcome: 'fail', ...seen, retryAt: undefined };
  return { outcome: plan.kind, reason: reasonOf(plan), needsRegistry: plan.kind !== 'hit' };
}

function reasonOf(plan: Exclude<Plan, { readonly kind: 'fail' }>): string {
  if (plan.kind === 'hit' && plan.blob.verifiedAt === undefined)
    return 'the package is cached, and is verified before its first use';
  if (plan.kind === 'joined' && plan.download.isQueued)
    return 'the package waits for one of the parallel downloads to end, for this request, too';
  if (plan.missing !== undefined && plan.kind === 'miss')
    return 'the manifest is not cached: the registry will be asked';
  return REASONS[plan.kind === 'bypass' ? plan.reason : plan.kind];
}
