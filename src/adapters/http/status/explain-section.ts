/** The section that explains a request: a form that shows each mistake at its field, and the explanation. */
import type { ExplainedSignature, Explanation } from '../../../application/explain-package.ts';
import type { ConfiguredRegistry } from '../../../domain/ports/credential-provider.ts';
import type { Download } from '../../../application/downloads.ts';
import { BAD, GOOD, type Inspection, placeText, type Section } from './parts.ts';
import type { UpstreamAnswer } from '../../../domain/ports/registry-gateway.ts';
import { parseDigest } from '../../../domain/descriptor.ts';
import { InvalidArgumentError } from '../../../domain/errors.ts';
import { type PackageRequest, parseRepositoryName, parseRepositoryPath } from '../../../domain/reference.ts';
import type { BlobInfo } from '../../../domain/ports/package-store.ts';
import { NO_MANIFEST, rootText } from '../package/explanation-text.ts';
import type { PackageParameters } from '../package/package-query.ts';
import { statusOf } from '../server/problem.ts';
import { placeState } from './upstream-sections.ts';
import { html, type Html } from './html.ts';
import { ageOf, clockText, countText, shareText, sizeText, spanText } from './quantities.ts';

export interface Question {
  readonly fields: PackageParameters;
  /** The mistakes by field, in words for the operator. */
  readonly mistakes: Readonly<Partial<Record<keyof PackageParameters, string>>>;
  /** Undefined if there is no question, or no valid one. */
  readonly request: PackageRequest | undefined;
}

/** Renders the form, and the explanation if a package was requested. */
export function explainSection(
  question: Question,
  explanation: Explanation | undefined,
  { credentials }: Pick<Inspection, 'credentials'>,
  now: Date,
): Section {
  return {
    id: 'explain',
    title: 'Explain a request',
    isLive: false,
    content: html`${renderForm(question, credentials.registries())}
    ${explanation && renderExplanation(explanation, now)}`,
  };
}

/** Parses the fields; pasted text may have blanks around it. */
export function parseQuestion(given: PackageParameters): Question {
  const fields = { digest: given.digest.trim(), repository: given.repository.trim(), path: given.path.trim() };
  if (Object.values(fields).every((value) => value === '')) return { fields, mistakes: {}, request: undefined };
  const digest = attempt(() => parseDigest(fields.digest));
  const repository = attempt(() => parseRepositoryName(fields.repository));
  const path = attempt(() => (fields.path === '' ? undefined : parseRepositoryPath(fields.path)));
  const request =
    'value' in digest && 'value' in repository && 'value' in path
      ? { digest: digest.value, repository: repository.value, path: path.value }
      : undefined;
  const mistakes = {
    ...('mistake' in digest && { digest: digest.mistake }),
    ...('mistake' in repository && { repository: repository.mistake }),
    ...('mistake' in path && { path: path.mistake }),
  };
  return { fields, mistakes, request };
}

function attempt<Value>(parse: () => Value): { readonly value: Value } | { readonly mistake: string } {
  try {
    return { value: parse() };
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    return { mistake: error.message };
  }
}

function renderForm({ fields, mistakes }: Question, registries: readonly ConfiguredRegistry[]): Html {
  const field = (name: keyof PackageParameters, label: string, hint: string, attributes?: Html): Html => {
    const mistake = mistakes[name];
    return html`<div ${name === 'digest' ? html`class="wide"` : undefined}>
      <label for="ask-${name}">${label}</label>
      <input
        id="ask-${name}"
        name="${name}"
        value="${fields[name]}"
        autocomplete="off"
        autocapitalize="off"
        spellcheck="false"
        aria-describedby="ask-${name}-hint"
        ${mistake === undefined ? undefined : html`aria-invalid="true"`}
        ${attributes}
      />
      <p class="hint" id="ask-${name}-hint">
        ${mistake === undefined ? undefined : html`<strong class="bad">${BAD} ${mistake}.</strong>`} ${hint}
      </p>
    </div>`;
  };
  const names = new Set(registries.flatMap((registry) => registry.names).filter((name) => name !== ''));
  return html`<form action="#explain" method="get">
    ${field('digest', 'Digest', 'The digest of an image manifest or of an index.', html`required`)}
    ${field('repository', 'Repository', 'The repository of the request; empty for the default registry.', html`list="ask-names"`)}
    ${field('path', 'Path', 'The path below the repository; may be empty.')}
    <datalist id="ask-names">${[...names].map((name) => html`<option value="${name}"></option>`)}</datalist>
    <div class="wide"><button>Explain</button></div>
  </form>`;
}

function renderExplanation(explanation: Explanation, now: Date): Html {
  const { request, configuration, layer, cached, download, signature, answers, failures } = explanation;
  const facts: [term: string, fact: Html | undefined][] = [
    ['Request', html`<code>${request.digest}</code> <small>${placeText(request)}</small>`],
    ['Registry', placeOf(configuration)],
    ...askedBefore(configuration, now),
    ...imageRoots(configuration, now),
    ['Layer', layer && html`<code>${layer.digest}</code> <small>${sizeText(layer.size)}, ${layer.mediaType}</small>`],
    ['Manifest cached', cached.isOther === true ? html`${NO_MANIFEST}` : blobText(cached.manifest, now)],
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

function askedBefore({ askedBefore: places }: Explanation['configuration'], now: Date): [string, Html][] {
  if (places.length === 0) return [];
  const items = places.map(
    (place) => html`<li><code>${place.name}</code> (${place.kind}): ${placeState(place, now)}</li>`,
  );
  return [
    [
      'Mirrors and bucket, asked before it',
      html`<ul>
        ${items}
      </ul>`,
    ],
  ];
}

function imageRoots({ imageRoots: roots }: Explanation['configuration'], now: Date): [string, Html][] {
  if (roots.length === 0) return [];
  const items = roots.map(
    (root) => html`<li>${rootText(root, (at) => `${spanText(now.getTime() - at.getTime())} ago`)}</li>`,
  );
  return [
    [
      'Images by name, in this order',
      html`<ol>
        ${items}
      </ol>`,
    ],
  ];
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
