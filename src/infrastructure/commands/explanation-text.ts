/** An explanation as lines for people: what it means first, then all that it was made of. */
import { formatBytes, formatSeconds } from '../../adapters/cli/format-amount.ts';
import type { Explanation } from './explanation.ts';

/** A label, and the lines beside it. */
type Row = readonly [label: string, ...lines: readonly string[]];
type Ago = (at: Date) => string;
type Answer = NonNullable<Explanation['answers']['layer']>;

const LABEL_WIDTH = 12;

/** `now` is that of the service, by whose clock all its times are. */
export function explanationText(explanation: Explanation, now: Date): string {
  const { request, configuration, layer, kept, fill, answers, failures } = explanation;
  const since = (at: Date): string => formatSeconds(Math.max(0, now.getTime() - at.getTime()) / 1000);
  const ago: Ago = (at) => `${since(at)} ago`;
  const rows: Row[] = [
    ['verdict', ...verdictLines(explanation, ago)],
    ['digest', request.digest],
    ['repository', placeOf(request)],
    ['registry', ...registryLines(configuration)],
    ...configuration.sources.map((source): Row => ['source', ...sourceLines(source, ago)]),
    ['manifest', keptText(kept.manifest, ago)],
    layer === null
      ? ['layer', 'not known before its manifest is here']
      : ['layer', layer.digest, `${formatBytes(layer.size)}, ${keptText(kept.layer, ago)}`],
    ...(fill === null ? [] : [['arriving', `${shareText(fill)}, for ${since(fill.started_at)} now`] satisfies Row]),
    ...answerRows(answers, ago),
    ...failures.map((failure): Row => ['failed', ...failureLines(failure, ago)]),
  ];
  return rows.map(formatRow).join('');
}

function formatRow([label, ...lines]: Row): string {
  const labelled = lines.map((line, index) => (index === 0 ? label : '').padEnd(LABEL_WIDTH) + line);
  // Without orders to the terminal.
  return labelled.map((line) => `${line.replaceAll(/\p{C}/gu, '?')}\n`).join('');
}

function verdictLines({ verdict }: Explanation, ago: Ago): string[] {
  if (verdict.outcome !== 'fail') {
    const condition = verdict.needs_registry ? ', if the registry does its part' : '';
    return [`would be served${condition} (${verdict.outcome}): ${verdict.reason}`];
  }
  const { status, code, reason, cause, seen_at: seenAt } = verdict;
  return [
    `would fail with ${String(status)} ${code}: ${reason}`,
    ...(cause === null ? [] : [cause]),
    ...(seenAt === null ? [] : [`as seen ${ago(seenAt)}; asked again, the registry may do better`]),
  ];
}

function placeOf({ repository, path }: { readonly repository: string | null; readonly path: string | null }): string {
  const name = nameOf(repository ?? '');
  return path === null ? name : `${name}, path ${path}`;
}

function nameOf(repository: string): string {
  return repository === '' ? 'the default one' : repository;
}

function registryLines({
  registry,
  upstream,
  error,
  known_repositories: known,
}: Explanation['configuration']): string[] {
  if (upstream === null) {
    const others = registry === null ? [`known: ${known.map(nameOf).join(', ') || 'none'}`] : [];
    return [error?.detail ?? 'not known', ...others];
  }
  const { scheme, host, repository, credential, certificates } = upstream;
  const origin = registry === null ? '' : `, out of ${[registry.resource, registry.object ?? ''].join(' ').trim()}`;
  const user = credential.user === null ? '' : ` as ${credential.user}`;
  const trusted = certificates === 0 ? '' : `, ${numbered(certificates, 'certificate')} besides the usual ones`;
  return [
    `${scheme}://${host}${repository === null ? '' : `/${repository}`}${origin}`,
    `${credential.kind} access${user}${trusted}`,
  ];
}

function sourceLines(
  { resource, listed_at: listedAt, objects, rejected, failure }: Explanation['configuration']['sources'][number],
  ago: Ago,
): string[] {
  return [
    listedAt === null
      ? `${resource}, not listed yet`
      : `${resource}, ${numbered(objects, 'object')}, listed ${ago(listedAt)}`,
    ...rejected.map(({ object, reason }) => `${object} cannot be used: ${reason}`),
    ...(failure === null ? [] : [`failed ${ago(failure.at)}: ${failure.reason}`]),
  ];
}

function keptText(blob: Explanation['kept']['layer'], ago: Ago): string {
  if (blob === null) return 'not here';
  const verified = blob.verified_at === null ? 'not verified yet' : `verified ${ago(blob.verified_at)}`;
  return `here: stored ${ago(blob.stored_at)}, used ${ago(blob.used_at)}, ${verified}`;
}

function shareText({ bytes, size }: NonNullable<Explanation['fill']>): string {
  const percent = size === 0 ? 0 : Math.floor((100 * bytes) / size);
  return `${formatBytes(bytes)} of ${formatBytes(size)} (${String(percent)} %)`;
}

function answerRows({ manifest, layer, latest }: Explanation['answers'], ago: Ago): Row[] {
  const row = (what: string, { at, code, detail, cause }: Answer): Row => [
    'answered',
    `${ago(at)}, ${what}: ${code === 'OK' ? code : `${code}: ${detail}`}`,
    ...(cause === null ? [] : [cause]),
  ];
  const isOther = ![manifest, layer].some((answer) => answer?.at.getTime() === latest?.at.getTime());
  const rows = [
    ...(manifest === null ? [] : [row('the manifest', manifest)]),
    ...(layer === null ? [] : [row('the layer', layer)]),
    ...(latest === null || !isOther ? [] : [row(`${latest.operation} ${latest.digest}`, latest)]),
  ];
  return rows.length > 0 ? rows : [['answered', 'nothing was asked of this registry since the start']];
}

function failureLines(failure: Explanation['failures'][number], ago: Ago): string[] {
  const { status, code, detail, cause, count, last_at: lastAt } = failure;
  return [
    `${numbered(count, 'time')}, last ${ago(lastAt)}, of ${placeOf(failure)}: ${String(status)} ${code}: ${detail}`,
    ...(cause === null ? [] : [cause]),
  ];
}

function numbered(count: number, noun: string): string {
  return `${String(count)} ${noun}${count === 1 ? '' : 's'}`;
}
