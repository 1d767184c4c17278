/** Shows the outcome that a request would have, and the reasons. */
import type { ExplainedSignature, Explanation } from '../../../application/explain-package.ts';
import type { Download, UpstreamAnswer } from '../../../application/inspection.ts';
import type { BlobInfo } from '../../../domain/ports/package-store.ts';
import { statusOf } from '../server/problem.ts';
import { html, type Html } from './html.ts';
import { GOOD, BAD, placeText } from './parts.ts';
import { ageOf, clockText, countText, shareText, sizeText } from './quantities.ts';

export function renderExplanation(explanation: Explanation, now: Date): Html {
  const { request, configuration, layer, cached, download, signature, answers, failures } = explanation;
  const facts: [term: string, fact: Html | undefined][] = [
    ['Asked for', html`<code>${request.digest}</code> <small>${placeText(request)}</small>`],
    ['Looked for in', placeOf(configuration)],
    ['Layer', layer && html`<code>${layer.digest}</code> <small>${sizeText(layer.size)}, ${layer.mediaType}</small>`],
    ['Manifest cached', blobText(cached.manifest, now)],
    ['Layer cached', blobText(cached.layer, now)],
    ['Arriving', download && arrivalText(download, now)],
    ...(signature === undefined ? [] : [signatureFact(signature, now)]),
    ['Manifest at the registry', answerText(answers.manifest, now)],
    ['Layer at the registry', answerText(answers.layer, now)],
    ['Its latest answer', answerText(answers.latest, now)],
    [
      'Failed before',
      failures.length === 0
        ? undefined
        : html`<ul>
            ${failures.map(
              ({ status, code, detail, cause, count, lastAt }) =>
                html`<li>
                  ${status} ${code}: ${detail} <small>${cause}</small> ${countText(count)} ×, last ${ageOf(lastAt, now)}
                </li>`,
            )}
          </ul>`,
    ],
  ];
  return html`<div class="explanation">
    <h3>Now it would ${verdictOf(explanation, now)}</h3>
    <dl>
      ${facts.map(
        ([term, fact]) =>
          html`<div>
            <dt>${term}</dt>
            <dd>${fact ?? html`<span class="quiet">nothing is known</span>`}</dd>
          </div>`,
      )}
    </dl>
  </div>`;
}

function verdictOf({ verdict }: Explanation, now: Date): Html {
  if (verdict.outcome !== 'fail') {
    return html`<span class="good">${GOOD} succeed (${verdict.outcome})</span>: ${verdict.reason}`;
  }
  const { code, reason, cause, seenAt, retryAt } = verdict;
  return html`<span class="bad">${BAD} fail (${statusOf(code)} ${code})</span>: ${reason}
    <small
      >${cause} ${seenAt && html`as seen ${ageOf(seenAt, now)}`}
      ${retryAt && html`not asked again before ${clockText(retryAt)}`}</small
    >`;
}

function placeOf({ registry, upstream, error, known }: Explanation['configuration']): Html {
  if (upstream === undefined) {
    const names = known.flatMap((each) => each.names).map((name) => (name === '' ? 'the default' : name));
    return html`<span class="bad">${BAD} ${error?.message}</span> <small>Known: ${names.join(', ') || 'none'}.</small>`;
  }
  const { scheme, host, repository, dialled } = upstream;
  const from = registry === undefined ? undefined : html`known from ${registry.resource} ${registry.object}`;
  return html`<code>${scheme}://${host}${repository === undefined ? '' : `/${repository}`}</code>
    <small>${from} ${dialled && `dialled at ${dialled.host} (${dialled.by})`}</small>`;
}

function blobText(blob: BlobInfo | undefined, now: Date): Html {
  if (blob === undefined) return html`no`;
  const { size, storedAt, usedAt, verifiedAt } = blob;
  return html`${sizeText(size)}, stored ${ageOf(storedAt, now)}, used ${ageOf(usedAt, now)},
  ${verifiedAt === undefined ? 'not verified yet' : html`verified ${ageOf(verifiedAt, now)}`}`;
}

function arrivalText({ layer, bytes, startedAt, isQueued }: Download, now: Date): Html {
  if (isQueued) return html`waits for another download to end, since ${ageOf(startedAt, now)}`;
  return html`${shareText(bytes, layer.size)}, begun ${ageOf(startedAt, now)}`;
}

function signatureFact({ mode, finding }: ExplainedSignature, now: Date): [term: string, fact: Html] {
  if (finding === undefined) return ['Signature', html`not verified since the start <small>${mode}</small>`];
  const { verdict, verifiedAt } = finding;
  const detail = verdict.kind === 'valid' ? `${verdict.format}, by the key ${verdict.key}` : verdict.reason;
  return ['Signature', html`${verdict.kind}, ${ageOf(verifiedAt, now)} <small>${mode}: ${detail}</small>`];
}

function answerText(answer: UpstreamAnswer | undefined, now: Date): Html | undefined {
  if (answer === undefined) return undefined;
  const { code, detail, cause, at } = answer;
  return html`${code} ${detail} ${ageOf(at, now)} <small>${cause}</small>`;
}
