/** GET /explain: what a request for a package would do now, as JSON for programs or as text; never with a secret. */
import type { Middleware } from 'koa';
import type { ExplainedSignature, ExplainPackage, Explanation, Verdict } from '../../../application/explain-package.ts';
import type { ConfiguredRegistry, CredentialSource } from '../../../domain/ports/credential-provider.ts';
import type { FailedRequests } from '../../../domain/ports/request-inspection.ts';
import type { Download } from '../../../application/downloads.ts';
import type { ImageRoot } from '../../../application/get-image.ts';
import type { SourceStatus, UpstreamAnswer } from '../../../domain/ports/registry-gateway.ts';
import type { UpstreamDescription } from '../../../domain/upstream.ts';
import type { BlobInfo } from '../../../domain/ports/package-store.ts';
import { explanationText } from './explanation-text.ts';
import { parsePackageQuery } from './package-query.ts';
import { problemOf, statusOf } from '../server/problem.ts';
import type { RequestState } from '../server/request-record.ts';

/** The route has the query of /package. */
export function explainRoute(explain: Pick<ExplainPackage, 'execute'>): Middleware<RequestState> {
  return async (ctx) => {
    const request = parsePackageQuery(ctx.querystring);
    ctx.state.record.package = request;
    const explanation = await explain.execute(request);
    ctx.set({ 'Cache-Control': 'no-store', 'X-Content-Type-Options': 'nosniff', Vary: 'Accept' });
    const isText = ctx.accepts('application/json', 'text/plain') === 'text/plain';
    ctx.type = isText ? 'text/plain' : 'application/json';
    ctx.body = isText
      ? explanationText(explanation, new Date())
      : `${JSON.stringify(documentOf(explanation), undefined, 2)}\n`;
  };
}

/** A field is null if its value is absent or unknown. */
export function documentOf({
  request,
  verdict,
  configuration,
  layer,
  cached,
  download,
  signature,
  answers,
  failures,
}: Explanation): object {
  const { registry, upstream, error, sources, askedBefore, known, imageRoots } = configuration;
  return {
    request: { digest: request.digest, repository: request.repository, path: request.path ?? null },
    verdict: describeVerdict(verdict),
    configuration: {
      registry: registry === undefined ? null : describeRegistry(registry),
      upstream: upstream === undefined ? null : describeUpstream(upstream),
      error: error === undefined ? null : describeError(error),
      sources: sources.map(describeSource),
      asked_before: askedBefore.map(describePlace),
      known_repositories: known.flatMap(({ names }) => names),
      image_roots: imageRoots.map(describeRoot),
    },
    layer: layer ?? null,
    kept: { manifest: describeBlob(cached.manifest), layer: describeBlob(cached.layer) },
    fill: download === undefined ? null : describeDownload(download),
    signature: signature === undefined ? null : describeSignature(signature),
    answers: {
      manifest: describeAnswer(answers.manifest),
      layer: describeAnswer(answers.layer),
      latest: describeAnswer(answers.latest),
    },
    failures: failures.map(describeFailure),
  };
}

function describeVerdict(verdict: Verdict): object {
  if (verdict.outcome !== 'fail') {
    const { outcome, reason, needsRegistry } = verdict;
    return { outcome, status: 200, reason, needs_registry: needsRegistry };
  }
  const { outcome, code, reason, cause = null, seenAt = null, retryAt = null } = verdict;
  return { outcome, status: statusOf(code), code, reason, cause, seen_at: seenAt, retry_at: retryAt };
}

export function describeRegistry({ resource, object, names }: ConfiguredRegistry): object {
  return { resource, object: object ?? null, names };
}

export function describeUpstream({ scheme, host, repository, credential, ...rest }: UpstreamDescription): object {
  const { kind, user, flaw } = credential;
  const { certificates, dialled = null } = rest;
  const shown = { kind, user: user ?? null, ...(flaw !== undefined && { flaw }) };
  return { scheme, host, repository: repository ?? null, credential: shown, certificates, dialled };
}

function describeError(error: Error): object {
  const { status, code, detail } = problemOf(error);
  return { status, code, detail };
}

export function describeSource({ resource, listedAt, objects, rejected, failure }: CredentialSource): object {
  return { resource, listed_at: listedAt ?? null, objects, rejected, failure: failure ?? null };
}

export function describePlace({ kind, name, resting, isFailing, distrusted }: SourceStatus): object {
  return { kind, host: name, rests: resting ?? null, failing: isFailing, distrusted };
}

function describeRoot({ host, repository, answer }: ImageRoot): object {
  const place = { host, repository: repository ?? null };
  if (answer === undefined) return { ...place, answer: null };
  const { at, image, error } = answer;
  return { ...place, answer: { at, image, code: error?.code ?? 'OK', detail: error?.message ?? '' } };
}

function describeBlob(blob: BlobInfo | undefined): object | null {
  if (blob === undefined) return null;
  const { digest, size, storedAt, usedAt, verifiedAt } = blob;
  return { digest, size, stored_at: storedAt, used_at: usedAt, verified_at: verifiedAt ?? null };
}

function describeDownload({ layer, bytes, startedAt }: Download): object {
  return { bytes, size: layer.size, started_at: startedAt };
}

function describeSignature({ mode, finding }: ExplainedSignature): object {
  const { verdict, verifiedAt = null, index = null } = finding ?? {};
  const { format = null, key = null } = verdict?.kind === 'valid' ? verdict : {};
  const reason = verdict === undefined || verdict.kind === 'valid' ? null : verdict.reason;
  return { mode, verdict: verdict?.kind ?? null, format, key, reason, index, verified_at: verifiedAt };
}

export function describeAnswer(answer: UpstreamAnswer | undefined): object | null {
  if (answer === undefined) return null;
  const { operation, host, repository, digest, at, code, detail, cause } = answer;
  return { operation, host, repository: repository ?? null, digest, at, code, detail, cause: cause ?? null };
}

export function describeFailure({
  request,
  status,
  code,
  detail,
  cause,
  count,
  firstAt,
  lastAt,
}: FailedRequests): object {
  const { repository = null, path = null } = request ?? {};
  return { repository, path, status, code, detail, cause: cause ?? null, count, first_at: firstAt, last_at: lastAt };
}
