/** The form that asks why: each mistake is told where it was made. */
import type { ConfiguredRegistry } from '../../../application/inspection.ts';
import { parseDigest } from '../../../domain/digest.ts';
import { InvalidArgumentError } from '../../../domain/errors.ts';
import type { PackageRequest } from '../../../domain/package.ts';
import { parseRepositoryName, parseRepositoryPath } from '../../../domain/reference.ts';
import type { PackageParameters } from '../package/package-query.ts';
import { BAD } from './parts.ts';
import { html, type Html } from './html.ts';

export interface Question {
  readonly fields: PackageParameters;
  /** The mistake in a field, in words for its author. */
  readonly mistakes: Readonly<Partial<Record<keyof PackageParameters, string>>>;
  /** Undefined when nothing was asked, or nothing that can be answered. */
  readonly request: PackageRequest | undefined;
}

/** Reads the fields as they were pasted, with blanks around them. */
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

export function renderForm({ fields, mistakes }: Question, registries: readonly ConfiguredRegistry[]): Html {
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
    ${field('digest', 'Digest', 'Of an image manifest, or of an index of them.', html`required`)}
    ${field('repository', 'Repository', 'As a request names it; empty for the default.', html`list="ask-names"`)}
    ${field('path', 'Path', 'Below the repository; may be empty.')}
    <datalist id="ask-names">${[...names].map((name) => html`<option value="${name}"></option>`)}</datalist>
    <div class="wide"><button>Explain</button></div>
  </form>`;
}
