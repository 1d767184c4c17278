/** An explanation as lines of text: the verdict first, then the facts behind it. */
import type { ExplainedSignature, Explanation } from '../../../application/explain-package.ts';
import type { ImageRoot } from '../../../application/get-image.ts';
import type { CredentialSource } from '../../../domain/ports/credential-provider.ts';
import type { FailedRequests } from '../../../domain/ports/request-inspection.ts';
import type { SourceStatus, UpstreamAnswer } from '../../../domain/ports/registry-gateway.ts';
import type { BlobInfo } from '../../../domain/ports/package-store.ts';
import { DEFAULT_REPOSITORY } from '../../../domain/reference.ts';
import { statusOf } from '../server/problem.ts';
import { shareText, sizeText, spanText } from '../status/quantities.ts';

/** A label, and its lines. */
type Row = readonly [label: string, ...lines: readonly string[]];
type Ago = (at: Date) => string;

const LABEL_WIDTH = 12;
/** The text for the digest of a cached blob that is not a manifest. */
export const NO_MANIFEST =
  'not cached: the blob of this digest is a layer or another part of an image; ask by the digest of the image';
/** Without a real password the name may be a token. */
const WITHHELD = 'a user whose name is withheld: its password is so short or common that the name may be a token';
const SERVERS = { agent: 'the registry agent of the master', store: 'with the account of the store' } as const;

export function explanationText(explanation: Explanation, now: Date): string {
  const { request, configuration, layer, cached, download, signature, answers, failures } = explanation;
  const since = (at: Date): string => spanText(now.getTime() - at.getTime());
  const ago: Ago = (at) => `${since(at)} ago`;
  const rows: Row[] = [
    ['verdict', ...verdictLines(explanation, now)],
    ['digest', request.digest],
    ['repository', placeOf(request)],
    ...configuration.askedBefore.map((place): Row => ['before it', ...placeLines(place, now)]),
    ['registry', ...registryLines(configuration)],
    ...configuration.imageRoots.map((root): Row => ['images', rootText(root, ago)]),
    ...configuration.sources.map((source): Row => ['source', ...sourceLines(source, ago)]),
    ['manifest', cached.isOther === true ? NO_MANIFEST : blobText(cached.manifest, ago)],
    layer === undefined
      ? ['layer', 'not known before its manifest is cached']
      : ['layer', layer.digest, `${sizeText(layer.size)}, ${blobText(cached.layer, ago)}`],
  ];
  if (download !== undefined) {
    const { bytes, startedAt } = download;
    const share = `${sizeText(bytes)} of ${sizeText(download.layer.size)} (${shareText(bytes, download.layer.size)})`;
    rows.push(['arriving', `${share}, for ${since(startedAt)} now`]);
  }
  if (signature !== undefined) rows.push(['signature', ...signatureLines(signature, ago)]);
  rows.push(...answerRows(answers, ago), ...failures.map((failure): Row => ['failed', ...failureLines(failure, ago)]));
  return rows.map(formatRow).join('');
}

function formatRow([label, ...lines]: Row): string {
  const labelled = lines.map((line, index) => (index === 0 ? label : '').padEnd(LABEL_WIDTH) + line);
  // Control characters would be commands for the terminal.
  return labelled.map((line) => `${line.replaceAll(/\p{C}/gu, '?')}\n`).join('');
}

function verdictLines({ verdict }: Explanation, now: Date): string[] {
  if (verdict.outcome !== 'fail') {
    const condition = verdict.needsRegistry ? ', if the registry delivers it' : '';
    return [`would be served${condition} (${verdict.outcome}): ${verdict.reason}`];
  }
  const { code, reason, cause, seenAt, retryAt } = verdict;
  const span = (from: Date, to: Date): string => spanText(to.getTime() - from.getTime());
  return [
    `would fail with ${String(statusOf(code))} ${code}: ${reason}`,
    ...(cause === undefined ? [] : [cause]),
    ...(seenAt === undefined ? [] : [`as seen ${span(seenAt, now)} ago; the registry may answer differently now`]),
    ...(retryAt === undefined
      ? []
      : [`the registry has asked for a wait, and is not asked for another ${span(now, retryAt)}`]),
  ];
}

function placeOf({ repository, path }: Pick<Explanation['request'], 'repository' | 'path'>): string {
  const name = nameOf(repository);
  return path === undefined ? name : `${name}, path ${path}`;
}

function nameOf(repository: string): string {
  return repository === '' ? 'the default one' : repository;
}

function registryLines({ registry, upstream, error, known }: Explanation['configuration']): string[] {
  if (upstream === undefined) {
    const names = known.flatMap((each) => each.names).map(nameOf);
    return [error?.message ?? 'not known', ...(registry === undefined ? [`known: ${names.join(', ') || 'none'}`] : [])];
  }
  const { scheme, host, repository, credential, certificates, dialled } = upstream;
  const origin =
    registry === undefined ? '' : `, out of ${[registry.resource, registry.object ?? ''].join(' ').trim()}`;
  const user = credential.kind === 'basic' ? ` as ${credential.user ?? WITHHELD}` : '';
  const where = dialled?.by === 'agent' ? 'instead of' : 'besides';
  const trusted = certificates === 0 ? '' : `, ${numbered(certificates, 'certificate')} ${where} the usual ones`;
  return [
    `${scheme}://${host}${repository === undefined ? '' : `/${repository}`}${origin}`,
    ...(dialled === undefined ? [] : [`dialled at ${dialled.host}, ${SERVERS[dialled.by]}`]),
    `${credential.kind} access${user}${trusted}`,
    ...(credential.flaw === undefined ? [] : [credential.flaw]),
  ];
}

export function rootText({ host, repository, answer }: ImageRoot, ago: Ago): string {
  const place = repository === undefined ? host : `${host}/${repository}`;
  if (answer === undefined) return `${place}, not asked since the start`;
  const { at, image, error } = answer;
  return `${place}, ${ago(at)}, ${image}: ${error === undefined ? 'OK' : `${error.code}: ${error.message}`}`;
}

function sourceLines({ resource, listedAt, objects, rejected, failure }: CredentialSource, ago: Ago): string[] {
  return [
    listedAt === undefined
      ? `${resource}, not listed yet`
      : `${resource}, ${numbered(objects, 'object')}, listed ${ago(listedAt)}`,
    ...rejected.map(({ object, reason }) => `${object} cannot be used: ${reason}`),
    ...(failure === undefined ? [] : [`failed ${ago(failure.at)}: ${failure.reason}`]),
  ];
}

function placeLines({ kind, name, resting, isFailing, distrusted }: SourceStatus, now: Date): string[] {
  const wrong = distrusted === 0 ? [] : [`not asked for ${numbered(distrusted, 'digest')} because it sent wrong bytes`];
  if (resting === undefined) return [`${kind} ${name}${isFailing ? ', which failed last time' : ''}`, ...wrong];
  return [
    `${kind} ${name}, asked last for another ${spanText(resting.until.getTime() - now.getTime())}`,
    resting.reason,
    ...wrong,
  ];
}

function blobText(blob: BlobInfo | undefined, ago: Ago): string {
  if (blob === undefined) return 'not cached';
  const verified = blob.verifiedAt === undefined ? 'not verified yet' : `verified ${ago(blob.verifiedAt)}`;
  return `cached: stored ${ago(blob.storedAt)}, used ${ago(blob.usedAt)}, ${verified}`;
}

function signatureLines({ mode, finding }: ExplainedSignature, ago: Ago): string[] {
  if (finding === undefined) return [`not verified since the start (${mode})`];
  const { verdict, verifiedAt, index } = finding;
  if (verdict.kind !== 'valid') return [`${verdict.kind} (${mode}), ${ago(verifiedAt)}`, verdict.reason];
  return [
    `valid (${mode}), ${ago(verifiedAt)}: ${verdict.format}, by the key ${verdict.key}`,
    ...(index === undefined ? [] : [`of the index ${index}`]),
  ];
}

function answerRows({ manifest, layer, latest }: Explanation['answers'], ago: Ago): Row[] {
  const row = (asked: string, { at, code, detail, cause }: UpstreamAnswer): Row => [
    'answered',
    `${ago(at)}, ${asked}: ${code === 'OK' ? code : `${code}: ${detail}`}`,
    ...(cause === undefined ? [] : [cause]),
  ];
  const rows = [
    ...(manifest === undefined ? [] : [row('the manifest', manifest)]),
    ...(layer === undefined ? [] : [row('the layer', layer)]),
    ...(latest === undefined || latest === manifest || latest === layer
      ? []
      : [row(`${latest.operation} ${latest.digest}`, latest)]),
  ];
  return rows.length > 0 ? rows : [['answered', 'nothing was asked of this registry since the start']];
}

function failureLines({ request, status, code, detail, cause, count, lastAt }: FailedRequests, ago: Ago): string[] {
  const place = placeOf({ repository: request?.repository ?? DEFAULT_REPOSITORY, path: request?.path });
  return [
    `${numbered(count, 'time')}, last ${ago(lastAt)}, of ${place}: ${String(status)} ${code}: ${detail}`,
    ...(cause === undefined ? [] : [cause]),
  ];
}

function numbered(count: number, noun: string): string {
  return `${String(count)} ${noun}${count === 1 ? '' : 's'}`;
}
